//! Frames: headers in their versions, and the memory that decoding takes.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use millrace_base::limits::FRAME_BYTES_MAX;
use millrace_protocol::frame::{
    DecodeError, FrameError, RequestFrame, decode_body, decode_private_response_header,
    decode_response_header, encode_private_request, encode_private_response, encode_request, encode_response,
    frame_len,
};
use millrace_protocol::layout::{Guarded, memory_budget};
use millrace_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeConfigsRequest, FetchRequest, MetadataRequest,
    MetadataResponse, ProduceRequest,
};
use millrace_protocol::private::{PRIVATE_VERSION, PrivateApi};
use millrace_protocol::{ErrorCode, StrBytes};

/// Counts what each thread has allocated at its peak.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// Sound: every call goes to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size();
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
}

/// Peak memory of decoding `body`, and whether it was decoded.
fn peak_of_decoding<T: Guarded>(body: Vec<u8>, version: i16) -> (usize, bool) {
    let mut body = Bytes::from(body);
    LIVE.set(0);
    PEAK.set(0);
    let decoded = decode_body::<T>(&mut body, version).is_ok();
    (PEAK.get(), decoded)
}

/// Messages made to take as much memory as they can, for what they are.
#[test]
fn decoding_stays_within_the_budget() {
    let compact_count = |count: u32| vec![count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8];
    let hostile: Vec<(&str, Vec<u8>, i16)> = vec![
        ("a count that lies", vec![0x7f, 0xff, 0xff, 0xff], 1),
        ("a compact count that lies", vec![0xff, 0xff, 0xff, 0xff, 0x0f], 9),
        ("empty names", [compact_count(200_001), [1, 0].repeat(200_000), vec![0; 4]].concat(), 9),
        ("a tagged field each", [compact_count(50_001), [1, 1, 9, 0].repeat(50_000), vec![0; 4]].concat(), 9),
    ];
    for (what, body, version) in hostile {
        let budget = memory_budget(body.len());
        let (peak, _) = peak_of_decoding::<MetadataRequest>(body, version);
        assert!(peak <= budget, "{what}: {peak} of {budget} bytes");
    }
}

/// Nothing that a client has reason to send is refused for its size.
#[test]
fn honest_messages_are_within_the_budget() {
    let names = (0..100_000).map(|n| format!("events-{n}")).collect::<Vec<_>>();
    let mut metadata = Vec::from((names.len() as i32).to_be_bytes());
    for name in &names {
        metadata.extend((name.len() as i16).to_be_bytes());
        metadata.extend(name.as_bytes());
    }
    let (peak, decoded) = peak_of_decoding::<MetadataRequest>(metadata, 1);
    assert!(decoded && peak > names.len());

    // Every partition of a large topic in one Fetch, as small as its fields can be.
    let mut fetch = vec![0; 17];
    fetch.extend(1_i32.to_be_bytes());
    fetch.extend([0, 1, b't']);
    fetch.extend(100_000_i32.to_be_bytes());
    fetch.extend([0; 16].repeat(100_000));
    let (_, decoded) = peak_of_decoding::<FetchRequest>(fetch, 4);
    assert!(decoded);
}

#[test]
fn lengths_are_limited() {
    assert_eq!(frame_len([0, 0, 1, 0], FRAME_BYTES_MAX), Ok(256));
    assert_eq!(frame_len([0xff; 4], FRAME_BYTES_MAX), Err(FrameError::Negative { len: -1 }));
    // A TLS client hello taken for a length.
    let hello = i32::from_be_bytes([0x16, 3, 1, 2]) as usize;
    assert_eq!(
        frame_len([0x16, 3, 1, 2], FRAME_BYTES_MAX),
        Err(FrameError::TooLarge { len: hello, max: FRAME_BYTES_MAX })
    );
}

#[test]
fn requests_survive_the_wire_in_both_header_versions() {
    for version in 0..=13 {
        for client_id in [None, Some("a-client")] {
            let request = MetadataRequest::default().with_allow_auto_topic_creation(true);
            let frame = encode_request(9, client_id, version, &request).unwrap().read_to_bytes().unwrap();
            let mut read = RequestFrame::decode(frame.slice(4..)).unwrap();
            assert_eq!((read.api_key, read.api_version), (ApiKey::Metadata as i16, version));
            assert_eq!((read.correlation_id, read.client_id.as_deref()), (9, client_id));
            assert_eq!(decode_body::<MetadataRequest>(&mut read.body, version), Ok(request));
            assert!(read.body.is_empty());
        }
    }
}

#[test]
fn an_unknown_api_or_version_can_be_answered() {
    // Header v1 of API 999, then what is no body.
    let unknown = Bytes::from_static(&[3, 0xe7, 0, 1, 0, 0, 0, 5, 0, 1, b'c', 0xff]);
    let frame = RequestFrame::decode(unknown).unwrap();
    assert_eq!((frame.api_key, frame.correlation_id, frame.client_id.as_deref()), (999, 5, Some("c")));

    // ApiVersions of a version to come: header v2.
    let future = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 6, 0xff, 0xff, 0]);
    let mut frame = RequestFrame::decode(future).unwrap();
    assert_eq!((frame.api_version, frame.correlation_id, frame.client_id), (99, 6, None));
    assert_eq!(
        decode_body::<ApiVersionsRequest>(&mut frame.body, 99),
        Err(DecodeError::UnsupportedVersion { version: 99, min: 0, max: 4 })
    );
    // Produce before version 3 is advertised, and refused.
    assert!(matches!(
        decode_body::<ProduceRequest>(&mut Bytes::new(), 2),
        Err(DecodeError::UnsupportedVersion { min: 3, .. })
    ));
}

#[test]
fn headers_that_are_cut_off_are_refused() {
    let request = DescribeConfigsRequest::default();
    let frame = encode_request(1, Some("client"), 4, &request).unwrap().read_to_bytes().unwrap();
    let header_len = 2 + 2 + 4 + 2 + 6 + 1;
    for len in 0..header_len {
        assert!(RequestFrame::decode(frame.slice(4..4 + len)).is_err(), "{len} bytes");
    }
    assert!(RequestFrame::decode(frame.slice(4..4 + header_len)).is_ok());
}

#[test]
fn responses_carry_the_header_of_their_version() {
    let read = |key, version, frame: millrace_base::Payload| {
        let bytes = frame.read_to_bytes().unwrap();
        let prefix = bytes[..4].try_into().unwrap();
        assert_eq!(frame_len(prefix, 1000), Ok(bytes.len() - 4));
        decode_response_header(bytes.slice(4..), key, version).unwrap()
    };
    for version in 0..=4 {
        let response = ApiVersionsResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code());
        let frame = encode_response(3, ApiKey::ApiVersions, version, &response).unwrap();
        let (id, mut body) = read(ApiKey::ApiVersions, version, frame);
        assert_eq!((id, decode_body(&mut body, version)), (3, Ok(response)));
        assert!(body.is_empty());
    }
    for version in 0..=12 {
        let response = MetadataResponse::default();
        let frame = encode_response(4, ApiKey::Metadata, version, &response).unwrap();
        let (id, mut body) = read(ApiKey::Metadata, version, frame);
        assert_eq!(id, 4);
        assert!(decode_body::<MetadataResponse>(&mut body, version).is_ok());
        assert!(body.is_empty());
    }
}

#[test]
fn what_a_version_cannot_say_is_an_error_that_names_it() {
    let response =
        MetadataResponse::default().with_cluster_id(Some(StrBytes::from_string("x".repeat(40_000))));
    let error = encode_response(1, ApiKey::Metadata, 5, &response).unwrap_err();
    assert!(error.to_string().starts_with("encode Metadata version 5: "), "{error}");
}

#[test]
fn private_requests_and_answers_are_framed_as_kafkas() {
    for api in PrivateApi::ALL {
        let body = Bytes::from_static(b"{}").into();
        let bytes = encode_private_request(9, Some("cli"), api, body).unwrap().read_to_bytes().unwrap();
        assert_eq!(frame_len(bytes[..4].try_into().unwrap(), 1000), Ok(bytes.len() - 4));
        let request = RequestFrame::decode(bytes.slice(4..)).unwrap();
        assert_eq!((request.api_key, request.api_version), (api.key(), PRIVATE_VERSION));
        assert_eq!((request.correlation_id, request.client_id.as_deref()), (9, Some("cli")));
        assert_eq!(&request.body[..], b"{}");
        let body = Bytes::from_static(b"[]").into();
        let bytes = encode_private_response(9, api, body).unwrap().read_to_bytes().unwrap();
        assert_eq!(frame_len(bytes[..4].try_into().unwrap(), 1000), Ok(bytes.len() - 4));
        assert_eq!(decode_private_response_header(bytes.slice(4..)), Ok((9, Bytes::from_static(b"[]"))));
    }
    // One tagged field, 5 with a byte in it: unknown, and no matter.
    let answer = Bytes::from_static(&[0, 0, 0, 9, 1, 5, 1, 0xaa, b'[', b']']);
    assert_eq!(decode_private_response_header(answer), Ok((9, Bytes::from_static(b"[]"))));
    let cut_off = decode_private_response_header(Bytes::from_static(&[0, 0, 0, 9]));
    assert_eq!(cut_off, Err(DecodeError::Truncated { missing: 1 }));
}
