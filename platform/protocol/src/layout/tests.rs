//! The tables against `kafka-protocol`: whatever is written along a layout, its decoder reads to the end.

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, Message, Request};
use proptest::prelude::*;

use super::{Field, Guarded, Kind, Layout, check, memory_budget};
use crate::api::{SERVED, served};
use crate::frame::{DecodeError, decode_body};

/// Calls `$check::<R>(…)` for the request of every served API.
macro_rules! for_every_request {
    ($check:ident $arguments:tt) => {
        for_every_request!(@ $check $arguments
            ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest FindCoordinatorRequest
            ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest DeleteRecordsRequest
            InitProducerIdRequest OffsetForLeaderEpochRequest DescribeConfigsRequest AlterConfigsRequest
            DescribeLogDirsRequest CreatePartitionsRequest IncrementalAlterConfigsRequest
            DescribeClusterRequest DescribeTopicPartitionsRequest JoinGroupRequest SyncGroupRequest
            HeartbeatRequest LeaveGroupRequest OffsetCommitRequest OffsetFetchRequest OffsetDeleteRequest
            DescribeGroupsRequest ListGroupsRequest DeleteGroupsRequest AddPartitionsToTxnRequest
            EndTxnRequest WriteTxnMarkersRequest DescribeProducersRequest DescribeTransactionsRequest
            ListTransactionsRequest ConsumerGroupHeartbeatRequest ConsumerGroupDescribeRequest)
    };
    (@ $check:ident $arguments:tt $($request:ident)*) => {
        [$($check::<$request> $arguments),*]
    };
}

/// Calls `$check::<M>(…)` for the request and the response of every served API.
macro_rules! for_every_message {
    ($check:ident ($($argument:ident: $type:ty),*)) => {{
        fn both<R>($($argument: $type),*)
        where
            R: Request + Guarded + Default,
            R::Response: Guarded + Default,
        {
            $check::<R>($($argument),*);
            $check::<R::Response>($($argument),*);
        }
        for_every_request!(both($($argument),*));
    }};
}

/// Writes a message of random content along a layout.
struct Writer<'a> {
    out: Vec<u8>,
    version: i16,
    /// Random numbers, over and over.
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Writer<'_> {
    fn choose(&mut self, below: u8) -> u8 {
        self.choices.next().map_or(0, |choice| choice % below)
    }

    fn layout(&mut self, layout: &Layout) {
        let flexible = self.version >= layout.flexible_since;
        for field in layout.fields {
            if (field.since..=field.until).contains(&self.version) {
                self.field(field, flexible);
            }
        }
        if !flexible {
            return;
        }
        let known: Vec<_> = layout
            .tagged
            .iter()
            .filter(|(_, field)| field.since <= self.version && self.choose(2) == 0)
            .collect();
        let unknown = self.choose(2);
        self.out.push(known.len() as u8 + unknown);
        for (tag, field) in known {
            // The decoder ignores the size of a tag that it knows.
            self.out.extend([*tag as u8, 0]);
            self.field(field, true);
        }
        if unknown == 1 {
            self.out.extend([99, 3, 1, 2, 3]);
        }
    }

    fn field(&mut self, field: &Field, flexible: bool) {
        match field.kind {
            Kind::Fixed(width) => self.fill(width),
            Kind::String => self.string(flexible),
            Kind::Bytes => {
                let len = self.choose(5);
                self.len(len, flexible, 4);
                self.fill(usize::from(len));
            }
            Kind::Numbers(width) => self.array(flexible, |writer| writer.fill(width)),
            Kind::Strings => self.array(flexible, |writer| writer.string(flexible)),
            Kind::Array(layout) => self.array(flexible, |writer| writer.layout(layout)),
            Kind::Struct(layout) => self.layout(layout),
            Kind::Optional(layout) => {
                let present = self.choose(2);
                self.out.push(if present == 1 { 1 } else { 0xff });
                if present == 1 {
                    self.layout(layout);
                }
            }
        }
    }

    fn array(&mut self, flexible: bool, mut element: impl FnMut(&mut Self)) {
        let count = self.choose(3);
        self.len(count, flexible, 4);
        for _ in 0..count {
            element(self);
        }
    }

    fn string(&mut self, flexible: bool) {
        let len = self.choose(4);
        self.len(len, flexible, 2);
        self.out.extend(std::iter::repeat_n(b'x', usize::from(len)));
    }

    fn len(&mut self, len: u8, flexible: bool, width: usize) {
        if flexible {
            self.out.push(len + 1);
        } else {
            self.out.extend(std::iter::repeat_n(0, width - 1));
            self.out.push(len);
        }
    }

    fn fill(&mut self, len: usize) {
        for _ in 0..len {
            let byte = self.choose(255);
            self.out.push(byte);
        }
    }
}

/// The walk and the decoder agree on where a message along the layout ends: after its last byte.
fn reads_what_the_layout_says<M: Guarded>(choices: &[u8]) {
    for version in M::VERSIONS.min..=M::VERSIONS.max {
        let mut writer = Writer { out: Vec::new(), version, choices: choices.iter().cycle() };
        writer.layout(M::LAYOUT);
        let len = writer.out.len();
        writer.out.extend([0xee; 4]);
        let message = std::any::type_name::<M>();
        assert_eq!(check(M::LAYOUT, &writer.out, version), Ok(len), "{message} {version}");
        let mut body = Bytes::from(writer.out);
        let decoded = decode_body::<M>(&mut body, version);
        assert!(decoded.is_ok(), "{message} {version}: {:?}", decoded.err());
        assert_eq!(body.len(), 4, "{message} {version}");
    }
}

/// The walk consumes exactly what `kafka-protocol` itself writes.
fn walks_what_is_encoded<M: Guarded + Encodable + Default>() {
    for version in M::VERSIONS.min..=M::VERSIONS.max {
        let mut encoded = Vec::new();
        let message = std::any::type_name::<M>();
        if M::default().encode(&mut encoded, version).is_ok() {
            assert_eq!(check(M::LAYOUT, &encoded, version), Ok(encoded.len()), "{message} {version}");
        }
    }
}

/// Either the walk refuses the bytes, or the decoder goes no further than the walk.
fn survives<M: Guarded>(bytes: &Bytes) {
    for version in M::VERSIONS.min..=M::VERSIONS.max {
        let mut body = bytes.clone();
        let walked = check(M::LAYOUT, bytes, version);
        if decode_body::<M>(&mut body, version).is_ok() {
            assert_eq!(walked, Ok(bytes.len() - body.len()), "{} {version}", std::any::type_name::<M>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn layouts_are_those_of_the_decoders(choices in proptest::collection::vec(any::<u8>(), 1..200)) {
        let choices = &choices[..];
        for_every_message!(reads_what_the_layout_says(choices: &[u8]));
    }

    #[test]
    fn garbage_never_gets_past_the_walk(bytes: Vec<u8>) {
        let bytes = &Bytes::from(bytes);
        for_every_message!(survives(bytes: &Bytes));
    }
}

#[test]
fn layouts_are_those_of_the_encoders() {
    for_every_message!(walks_what_is_encoded());
}

#[test]
fn every_served_version_can_be_decoded() {
    fn is_carried<R: Request>() -> i16 {
        let spec = served(R::KEY).unwrap();
        for carried in [R::VERSIONS, R::Response::VERSIONS] {
            assert!(carried.min <= spec.min && spec.max <= carried.max, "{:?}", spec.key);
        }
        R::KEY
    }
    let keys = for_every_request!(is_carried());
    assert_eq!(keys.len(), SERVED.len());
}

#[test]
fn counts_that_lie_are_refused() {
    let lie = |bytes: &'static [u8], version| {
        decode_body::<MetadataRequest>(&mut Bytes::from_static(bytes), version).unwrap_err()
    };
    assert!(matches!(lie(&[0x7f, 0xff, 0xff, 0xff], 1), DecodeError::Truncated { .. }));
    assert!(matches!(
        lie(&[0xff, 0xff, 0xff, 0xfe], 1),
        DecodeError::NegativeLength { field: "topics", len: -2 }
    ));
    assert!(matches!(lie(&[0xff, 0xff, 0xff, 0xff, 0x0f], 9), DecodeError::Truncated { .. }));
}

/// Two bytes a topic on the wire become 72 in memory: honest counts have a limit as well.
#[test]
fn messages_that_grow_too_much_are_refused() {
    let topics = 1_000_000_usize;
    // The count plus one, in groups of seven bits.
    let mut body = vec![0x80 | 0x41, 0x80 | 0x04, 0x3d];
    assert_eq!(topics + 1, 0x41 + (0x04 << 7) + (0x3d << 14));
    body.extend([1, 0].repeat(topics));
    body.extend([0, 0, 0, 0]);
    let frame = body.len();
    let refused = decode_body::<MetadataRequest>(&mut body.into(), 9).unwrap_err();
    assert_eq!(refused, DecodeError::OverBudget { frame, budget: memory_budget(frame) });
}
