//! What is written reads back; what is damaged is named.

use super::*;

fn sample() -> Vec<u8> {
    crate::fuzz::seeds("recording").remove(0)
}

#[test]
fn every_kind_of_event_comes_back() {
    let events = read(&sample()).unwrap();
    assert_eq!(events.len(), 8);
    assert_eq!(events[..4], events[4..]);
    let mut writer = Writer::new();
    assert!(events.iter().all(|event| event.add_to(&mut writer)));
    assert_eq!(writer.events(), 8);
    // A schema is written once: the bytes are those of the first writer.
    assert_eq!(writer.finish(), sample());
}

#[test]
fn damage_is_named_with_its_place() {
    let bytes = sample();
    for cut in MAGIC.len() + 1..bytes.len() {
        // A recording that ends behind a frame is whole.
        if let Err(error) = read(&bytes[..cut]) {
            assert!(error.to_string().ends_with("cut off in a frame"), "{error}");
        }
    }
    let mut torn = bytes.clone();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let error = read(&torn).unwrap_err().to_string();
    assert!(
        error.contains("the checksum of a frame does not match"),
        "{error}"
    );
    assert!(error.starts_with("byte "), "{error}");
    let error = read(b"MKTSREC2").unwrap_err().to_string();
    assert_eq!(
        error,
        "byte 0: this is no recording: it does not begin with MKTSREC1"
    );
    assert_eq!(read(MAGIC).unwrap(), []);
}

#[test]
fn a_recording_ends_with_its_rows_or_its_time() {
    let recorder = Arc::new(Recorder::default());
    assert_eq!(recorder.record(1, Duration::ZERO), Some(MAGIC.to_vec()));
    let other = Arc::clone(&recorder);
    let recording = std::thread::spawn(move || other.record(3, Duration::from_secs(60)));
    let mut seen = 0;
    while !recording.is_finished() {
        let info = FireInfo {
            first_lsn: seen,
            last_lsn: seen,
            attempt: 1 + (seen % 2) as u32,
            is_replay: false,
            now: 0,
            deadline: 0,
        };
        let (key, payload) = (&b"t"[..], &b""[..]);
        recorder.see(
            &info,
            &Event::Timer {
                key,
                due: 0,
                payload,
            },
        );
        seen += 1;
    }
    let events = read(&recording.join().unwrap().unwrap()).unwrap();
    assert_eq!(events.len(), 3);
    assert!(
        events.iter().all(|event| event.first_lsn % 2 == 0),
        "further attempts are none"
    );
}
