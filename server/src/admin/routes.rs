//! Which calls there are.
//!
//! A part in braces stands for one part of the path, percent-encoded; `{key..}` for all that is left.
//! A `:` begins a verb, so one inside an id is written `%3A`.

use hyper::{Method, StatusCode};

use serde_json::Value;

use super::call::{Answer, Call, File, Refusal, Request};
#[cfg(feature = "profile")]
use super::stacks;
use super::{control, letters, plugins, profile, replay, state, store};
use crate::http::App;
use crate::percent;

/// One call.
struct Route {
    method: Method,
    path: &'static str,
    run: Run,
}

enum Run {
    Json(fn(&Call<'_>) -> Answer),
    File(fn(&Call<'_>) -> Result<File, Refusal>),
}

/// What a route gave.
#[derive(Debug)]
pub(super) enum Given {
    Json(Value),
    File(File),
}

const fn get(path: &'static str, run: fn(&Call<'_>) -> Answer) -> Route {
    let (method, run) = (Method::GET, Run::Json(run));
    Route { method, path, run }
}

const fn get_file(path: &'static str, run: fn(&Call<'_>) -> Result<File, Refusal>) -> Route {
    let (method, run) = (Method::GET, Run::File(run));
    Route { method, path, run }
}

const fn post(path: &'static str, run: fn(&Call<'_>) -> Answer) -> Route {
    let (method, run) = (Method::POST, Run::Json(run));
    Route { method, path, run }
}

const fn put(path: &'static str, run: fn(&Call<'_>) -> Answer) -> Route {
    let (method, run) = (Method::PUT, Run::Json(run));
    Route { method, path, run }
}

static ROUTES: &[Route] = &[
    get("status", store::status),
    post("checkpoint", store::checkpoint),
    post("merge", store::merge),
    post("backup", store::backup),
    post("reload", store::reload),
    get("profile/threads", profile::threads),
    get("profile/memory", profile::memory),
    get_file("profile/cpu", stacks::cpu),
    get("plugins", plugins::list),
    get("plugins/{id}", plugins::describe),
    post("plugins:gc", control::gc),
    post("plugins/{id}:enable", control::enable),
    post("plugins/{id}:disable", control::disable),
    post("plugins/{id}:pause", control::pause),
    post("plugins/{id}:resume", control::resume),
    post("plugins/{id}:reload", control::reload),
    post("plugins/{id}:restart", control::restart),
    post("plugins/{id}:reset", control::reset),
    post("plugins/{id}:backfill", control::backfill),
    post("plugins/{id}:record", control::record),
    post("plugins/{id}:replay", replay::run),
    get("plugins/{id}/cursor", control::cursor),
    put("plugins/{id}/cursor", control::set_cursor),
    get("plugins/{id}/logs", plugins::logs),
    get("plugins/{id}/state", state::scan),
    get("plugins/{id}/namespaces", state::namespaces),
    get("plugins/{id}/state/{key..}", state::get),
    put("plugins/{id}/state/{key..}", state::put),
    get("plugins/{id}/dlq", letters::list),
    post("plugins/{id}/dlq:replay", letters::replay),
    post("plugins/{id}/dlq:drop", letters::discard),
    get("plugins/{id}/dlq/{letter}", letters::show),
    post("plugins/{id}/dlq/{letter}:replay", letters::replay),
    post("plugins/{id}/dlq/{letter}:drop", letters::discard),
];

#[cfg(not(feature = "profile"))]
mod stacks {
    use hyper::StatusCode;

    use super::{Call, File, Refusal};

    pub(super) fn cpu(_: &Call<'_>) -> Result<File, Refusal> {
        let what = "this mkts was built without the sampling of stacks (feature profile)";
        Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, what))
    }
}

/// Runs what was asked for.
pub(super) fn run(app: &App, request: &Request) -> Result<Given, Refusal> {
    let path = &*request.path;
    let fitting = ROUTES
        .iter()
        .filter_map(|route| Some((route, parts(route.path, path)?)));
    let mut methods = Vec::new();
    for (route, parts) in fitting {
        if route.method == request.method {
            let parts: Result<_, String> = parts.into_iter().map(percent::decode).collect();
            let parts = parts.map_err(Refusal::bad)?;
            let call = Call::new(app, request, parts);
            return match route.run {
                Run::Json(run) => run(&call).map(Given::Json),
                Run::File(run) => run(&call).map(Given::File),
            };
        }
        methods.push(route.method.as_str());
    }
    Err(refusal(request, &methods))
}

/// The open parts of a path, as they are written, if it is one of a pattern.
fn parts<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut found = Vec::new();
    let (mut patterns, mut rest) = (pattern.split('/'), Some(path));
    for pattern in patterns.by_ref() {
        let left = rest?;
        if pattern.ends_with("..}") {
            return (!left.is_empty()).then(|| {
                found.push(left);
                found
            });
        }
        let (part, behind) = match left.split_once('/') {
            Some((part, behind)) => (part, Some(behind)),
            None => (left, None),
        };
        rest = behind;
        let (wanted, wanted_verb) = verb(pattern);
        let (given, given_verb) = verb(part);
        if wanted_verb != given_verb {
            return None;
        }
        match wanted.starts_with('{') {
            true if given.is_empty() => return None,
            true => found.push(given),
            false if wanted != given => return None,
            false => {}
        }
    }
    rest.is_none().then_some(found)
}

/// A part without its verb, and the verb.
fn verb(part: &str) -> (&str, Option<&str>) {
    match part.rsplit_once(':') {
        Some((part, verb)) => (part, Some(verb)),
        None => (part, None),
    }
}

/// What is wrong with a request that no route takes.
fn refusal(request: &Request, methods: &[&str]) -> Refusal {
    let Request { method, path, .. } = request;
    if !methods.is_empty() {
        let methods = methods.join(" or ");
        let what = format!("{path} is called with {methods}, not {method}");
        return Refusal::new(StatusCode::METHOD_NOT_ALLOWED, what);
    }
    let (head, given) = verb(path);
    if let Some(given) = given {
        let verbs = ROUTES.iter().filter_map(|route| {
            let (of, verb) = verb(route.path);
            parts(of, head).and(verb)
        });
        let verbs: Vec<&str> = verbs.collect();
        if !verbs.is_empty() {
            let verbs = verbs.join(", ");
            return Refusal::unknown(format!("no verb \"{given}\": known are {verbs}"));
        }
    }
    let mut known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    known.dedup();
    Refusal::unknown(format!("no such call: known are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_before_it_is_decoded() {
        for (pattern, path, expected) in [
            ("status", "status", Some(vec![])),
            ("status", "status/", None),
            ("status", "statu", None),
            ("plugins/{id}", "plugins/a%2Fb", Some(vec!["a%2Fb"])),
            ("plugins/{id}", "plugins/", None),
            ("plugins/{id}", "plugins/a/state", None),
            ("plugins/{id}", "plugins/a:pause", None),
            ("plugins/{id}:pause", "plugins/a:pause", Some(vec!["a"])),
            ("plugins/{id}:pause", "plugins/a:b:pause", Some(vec!["a:b"])),
            ("plugins/{id}:pause", "plugins/:pause", None),
            ("plugins:gc", "plugins:gc", Some(vec![])),
            ("s/{id}/{key..}", "s/a/k:1/2", Some(vec!["a", "k:1/2"])),
            ("s/{id}/{key..}", "s/a/", None),
            ("s/{id}/{key..}", "s/a", None),
        ] {
            assert_eq!(parts(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn no_two_routes_are_one() {
        for (at, route) in ROUTES.iter().enumerate() {
            let other = ROUTES[..at]
                .iter()
                .find(|other| other.path == route.path && other.method == route.method);
            assert!(other.is_none(), "{}", route.path);
        }
    }
}
