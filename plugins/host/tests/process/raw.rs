//! T32 and children that break the protocol: a session by hand.

use std::process::ExitCode;
use std::time::Duration;

use plugin_proto::v1;
use plugin_proto::v1::effect::Effect as Kind;
use plugin_proto::v1::from_child::Message as Out;
use plugin_proto::v1::plugin_host_client::PluginHostClient;
use plugin_proto::v1::to_child::Message as In;
use plugin_sdk::{CloseReason, Kind as PluginKind, Plugin as _};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::child::Probe;
use crate::support::{FakeHost, Owned, info, make, program};

fn env(name: &str) -> String {
    std::env::var(format!("MKTS_PLUGIN_{name}")).unwrap()
}

/// The child `name`.
pub(crate) fn main(name: &str) -> ExitCode {
    match name {
        "silent" => std::thread::sleep(Duration::from_secs(3600)),
        "exit" => std::process::exit(3),
        _ => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(session(name));
        }
    }
    ExitCode::SUCCESS
}

type Out1 = UnboundedSender<v1::FromChild>;

fn send(out: &Out1, message: Out) {
    let message = Some(message);
    let _ = out.send(v1::FromChild { message });
}

async fn session(name: &str) {
    let socket = format!("unix:{}", env("SOCKET"));
    let channel = Endpoint::from_shared(socket).unwrap().connect().await;
    let mut client = PluginHostClient::new(channel.unwrap());
    let (out, outgoing) = unbounded_channel();
    let mut manifest = Probe::MANIFEST.describe(PluginKind::Trigger);
    let mut hello = v1::Hello {
        cookie: env("COOKIE"),
        protocols: vec![1, 99],
        ..v1::Hello::default()
    };
    match name {
        "cookie" => hello.cookie = "0".repeat(hello.cookie.len()),
        "protocol" => hello.protocols = vec![99],
        "manifest" => manifest.name = "other".into(),
        "chatter" => send(&out, Out::Heartbeat(v1::Heartbeat::default())),
        _ => {}
    }
    hello.manifest = serde_json::to_string(&manifest).unwrap();
    send(&out, Out::Hello(hello));
    let incoming = client.session(UnboundedReceiverStream::new(outgoing)).await;
    let Ok(incoming) = incoming else {
        // Refused: stay, so that the reason and not our end is what the server sees.
        return tokio::time::sleep(Duration::from_secs(3600)).await;
    };
    let mut incoming = incoming.into_inner();
    while let Ok(Some(message)) = incoming.message().await {
        match message.message {
            Some(In::Configure(_)) if name == "mute" => {}
            Some(In::Configure(_)) => send(&out, Out::Ready(v1::Ready::default())),
            Some(In::Fire(fire)) => answer(name, &fire, &out, &mut client).await,
            Some(In::Stop(_)) => return,
            _ => {}
        }
    }
}

fn publish(text: &str) -> v1::Effect {
    let publish = v1::effect::Publish {
        stream: "said".into(),
        payload: text.to_owned().into(),
    };
    v1::Effect {
        effect: Some(Kind::Publish(publish)),
    }
}

fn ack(fire: &v1::Fire, text: &str) -> v1::Ack {
    v1::Ack {
        seq: fire.seq,
        attempt: fire.attempt,
        epoch: fire.epoch,
        effects: vec![publish(text)],
        ..v1::Ack::default()
    }
}

async fn answer(name: &str, fire: &v1::Fire, out: &Out1, client: &mut PluginHostClient<Channel>) {
    match name {
        "late" => {
            let right = ack(fire, "right");
            let wrong = ack(fire, "wrong");
            let older = v1::Ack {
                epoch: fire.epoch - 1,
                ..wrong.clone()
            };
            let other = v1::Ack {
                attempt: fire.attempt + 1,
                ..wrong.clone()
            };
            let before = v1::Ack {
                seq: fire.seq.wrapping_sub(1),
                ..wrong.clone()
            };
            let after = v1::Ack {
                seq: fire.seq + 1,
                ..wrong.clone()
            };
            for late in [older, other, before, after, right, wrong] {
                send(out, Out::Ack(late));
            }
        }
        "late calls" => {
            let mut codes = Vec::new();
            for (epoch, seq) in [(fire.epoch - 1, fire.seq), (fire.epoch, fire.seq - 1)] {
                let commit = v1::CommitRequest {
                    epoch,
                    seq,
                    ..v1::CommitRequest::default()
                };
                codes.push(
                    client
                        .commit(with_cookie(commit))
                        .await
                        .unwrap()
                        .into_inner()
                        .code,
                );
                let get = v1::StateGetRequest {
                    epoch,
                    seq,
                    attempt: 1,
                    key: "k".into(),
                };
                codes.push(
                    client
                        .state_get(with_cookie(get))
                        .await
                        .unwrap()
                        .into_inner()
                        .code,
                );
            }
            let bare = tonic::Request::new(v1::CommitRequest::default());
            let status = client.commit(bare).await.unwrap_err();
            send(
                out,
                Out::Ack(ack(fire, &format!("{codes:?} {:?}", status.code()))),
            );
        }
        "newer" if fire.attempt == 1 => {
            let mut ack = ack(fire, "newer");
            ack.effects.push(v1::Effect { effect: None });
            send(out, Out::Ack(ack));
        }
        "garbage" if fire.attempt == 1 => {
            let write = v1::effect::Write {
                key: "OUT/1Min/T".into(),
                schema_id: 77,
                ..v1::effect::Write::default()
            };
            let mut ack = ack(fire, "garbage");
            ack.effects.push(v1::Effect {
                effect: Some(Kind::Write(write)),
            });
            send(out, Out::Ack(ack));
        }
        _ => send(out, Out::Ack(ack(fire, "fine"))),
    }
}

fn with_cookie<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let cookie = env("COOKIE").parse().unwrap();
    request.metadata_mut().insert("mkts-cookie", cookie);
    request
}

/// Two fires, each tried up to twice; what was published, and how often a fire failed.
fn run(child: &str) -> (Vec<String>, Vec<String>) {
    let module = plugin_host::process::module(program(child)).unwrap();
    let mut host = FakeHost::new();
    let mut trigger = make(&*module, &json!({}), &mut host).unwrap();
    let mut errors = Vec::new();
    for lsn in [1, 2] {
        let event = Owned::write(&[1]);
        if let Err(error) = host.fire(&mut *trigger, info(lsn, 1), &event) {
            errors.push(error.to_string());
            host.fire(&mut *trigger, info(lsn, 2), &event).unwrap();
        }
    }
    trigger.close(CloseReason::Stop);
    (host.said("said"), errors)
}

#[test]
fn answers_of_another_epoch_seq_or_attempt_have_no_effect() {
    assert_eq!(run("late"), (vec!["right".into(), "right".into()], vec![]));
}

#[test]
fn late_calls_are_fenced_and_strangers_refused() {
    let (said, errors) = run("late calls");
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(said, ["[-9, -9, -9, -9] PermissionDenied"; 2]);
}

/// The fire fails and says so; the child lives on.
#[test]
fn an_effect_of_a_newer_child_is_unsupported() {
    let (said, errors) = run("newer");
    assert_eq!(said, ["fine", "fine"]);
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert!(
            error.starts_with("UNSUPPORTED: ") && error.contains("newer SDK"),
            "{error}"
        );
    }
}

#[test]
fn garbage_ends_the_child_and_the_event_is_fired_again() {
    let (said, errors) = run("garbage");
    assert_eq!(said, ["fine", "fine"]);
    let why =
        "the plugin's process is gone: protocol: rows of OUT/1Min/T: schema 77 was never sent";
    assert_eq!(errors, [why, why]);
}
