//! The trace as Perfetto's protocol buffers, for ui.perfetto.dev and trace_processor: a track for each PP, a slice for each exit.
//!
//! The messages are as much of Perfetto's `protos/perfetto/trace` as that takes; their numbers are its.

use std::collections::BTreeMap;
use std::io::Write;

use prost::Message;

use super::{Exit, Recording};
use crate::Failure;
use crate::symbols::Symbols;

/// `trace.proto`, of which a file is one message; each packet is written as it comes.
#[derive(Clone, PartialEq, Message)]
struct Trace {
    #[prost(message, repeated, tag = "1")]
    packet: Vec<TracePacket>,
}

/// `trace_packet.proto`.
#[derive(Clone, PartialEq, Message)]
struct TracePacket {
    /// Nanoseconds.
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, tag = "10")]
    trusted_packet_sequence_id: u32,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

/// `track_event/track_descriptor.proto`.
#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, tag = "1")]
    uuid: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
}

/// `track_event/track_event.proto`.
#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<DebugAnnotation>,
    #[prost(int32, tag = "9")]
    kind: i32,
    #[prost(uint64, tag = "11")]
    track_uuid: u64,
    #[prost(string, repeated, tag = "22")]
    categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
}

/// `track_event/debug_annotation.proto`.
#[derive(Clone, PartialEq, Message)]
struct DebugAnnotation {
    #[prost(uint64, optional, tag = "3")]
    uint_value: Option<u64>,
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(uint64, optional, tag = "7")]
    pointer_value: Option<u64>,
    #[prost(string, tag = "10")]
    name: String,
}

/// `TrackEvent.Type`.
const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
/// All packets are one writer's.
const SEQUENCE: u32 = 1;
/// The track that the PPs' are below.
const ROOT: u64 = 0x504C;

const fn track(pp: u32) -> u64 {
    ROOT + 1 + pp as u64
}

pub(super) fn write(recording: &Recording, symbols: &Symbols, out: &mut dyn Write) -> Result<(), Failure> {
    let packet = TracePacket { trusted_packet_sequence_id: SEQUENCE, ..TracePacket::default() };
    let descriptor = |uuid, name: String, parent_uuid| TracePacket {
        track_descriptor: Some(TrackDescriptor { uuid, name, parent_uuid }),
        ..packet.clone()
    };
    put(descriptor(ROOT, "Plinth".to_owned(), None), out)?;
    for pp in &recording.pps {
        put(descriptor(track(*pp), format!("pp {pp}"), Some(ROOT)), out)?;
    }
    // A slice ends before the next one on its track begins, whatever rounding does.
    let mut ends = BTreeMap::new();
    for exit in &recording.exits {
        let start = (exit.start as u64).max(ends.get(&exit.pp).copied().unwrap_or(0));
        let end = start.max((exit.start + exit.duration) as u64);
        ends.insert(exit.pp, end);
        let at = |timestamp, track_event| TracePacket {
            timestamp: Some(timestamp),
            track_event: Some(track_event),
            ..packet.clone()
        };
        put(at(start, begin(exit, symbols)), out)?;
        let track_uuid = track(exit.pp);
        put(at(end, TrackEvent { kind: SLICE_END, track_uuid, ..TrackEvent::default() }), out)?;
    }
    Ok(())
}

/// A message with one packet: such messages one behind the other are one message with all.
fn put(packet: TracePacket, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(out.write_all(&Trace { packet: vec![packet] }.encode_to_vec())?)
}

fn begin(exit: &Exit, symbols: &Symbols) -> TrackEvent {
    let note = |name: &str| DebugAnnotation { name: name.to_owned(), ..DebugAnnotation::default() };
    let mut debug_annotations = vec![
        DebugAnnotation { pointer_value: Some(exit.number), ..note("number") },
        DebugAnnotation { uint_value: Some(exit.detail.into()), ..note("detail") },
        DebugAnnotation { pointer_value: Some(exit.instruction_pointer), ..note("instruction_pointer") },
    ];
    if let Some(symbol) = symbols.find(exit.instruction_pointer) {
        debug_annotations.push(DebugAnnotation { string_value: Some(symbol), ..note("symbol") });
    }
    TrackEvent {
        debug_annotations,
        kind: SLICE_BEGIN,
        track_uuid: track(exit.pp),
        categories: vec!["exit".to_owned()],
        name: Some(exit.class.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, symbols};
    use super::*;

    fn decoded(recording: &Recording) -> Vec<TracePacket> {
        let mut out = Vec::new();
        write(recording, &symbols(), &mut out).unwrap();
        Trace::decode(&*out).unwrap().packet
    }

    #[test]
    fn each_exit_is_a_slice_on_its_pps_track() {
        let packets = decoded(&sample());
        let tracks: Vec<_> = packets.iter().filter_map(|packet| packet.track_descriptor.clone()).collect();
        let names: Vec<_> = tracks.iter().map(|track| &*track.name).collect();
        assert_eq!(names, ["Plinth", "pp 0", "pp 1", "pp 2"]);
        assert!(tracks[1..].iter().all(|track| track.parent_uuid == Some(tracks[0].uuid)));
        let events: Vec<_> = packets
            .iter()
            .filter_map(|packet| Some((packet.timestamp?, packet.track_event.clone()?)))
            .collect();
        let what: Vec<_> =
            events.iter().map(|(at, event)| (*at, event.kind, event.track_uuid - track(0))).collect();
        let wanted = [(1000, 1, 0), (2500, 2, 0), (2000, 1, 1), (2500, 2, 1), (5000, 1, 0), (7500, 2, 0)];
        assert_eq!(what, wanted);
        let first = &events[0].1;
        assert_eq!((first.name.as_deref(), &*first.categories[0]), (Some("id read"), "exit"));
        let notes = &first.debug_annotations;
        assert_eq!(notes[3].string_value.as_deref(), Some("cpu_init+0x10"));
        assert_eq!((notes[0].pointer_value, notes[1].uint_value), (Some(7), Some(4)));
    }

    #[test]
    fn slices_of_a_track_do_not_overlap() {
        let mut recording = sample();
        recording.exits[2].start = 2400.7;
        let packets = decoded(&recording);
        let mut open = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (at, event) in
            packets.iter().filter_map(|packet| Some((packet.timestamp?, packet.track_event.as_ref()?)))
        {
            let depth = open.entry(event.track_uuid).or_insert(0);
            *depth += if event.kind == SLICE_BEGIN { 1 } else { -1 };
            assert!((0..=1).contains(depth));
            assert!(last.insert(event.track_uuid, at).is_none_or(|last| at >= last));
        }
        assert!(open.values().all(|depth| *depth == 0));
    }

    /// The bytes of a packet, by the encoding's rules and Perfetto's numbers alone.
    #[test]
    fn the_numbers_are_perfettos() {
        let exits = Recording { exits: sample().exits[..1].to_vec(), pps: vec![], ..sample() };
        let mut out = Vec::new();
        write(&exits, &Symbols::parse(""), &mut out).unwrap();
        let end = [0x0A, 13, 0x40, 0xC4, 0x13, 0x50, 1, 0x5A, 6, 0x48, 2, 0x58, 0xCD, 0xA0, 0x01];
        assert_eq!(out[out.len() - end.len()..], end);
        let root = [0x0A, 17, 0x50, 1, 0xE2, 3, 12, 0x08, 0xCC, 0xA0, 0x01, 0x12, 6];
        assert!(out.starts_with(&root), "{:x?}", &out[..20]);
        let name = [&[0xBA, 1, 7][..], b"id read"].concat();
        assert!(out.windows(name.len()).any(|bytes| bytes == name));
    }
}
