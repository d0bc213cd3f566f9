//! Every fixed limit of the platform, with the relations between them asserted at compile time.
//!
//! A limit that an operator may change is a setting (`millrace-config`); what stands here is what the
//! formats and the code's own arithmetic rely on.

/// One kibibyte, in bytes.
pub const KIB: usize = 1024;
/// One mebibyte, in bytes.
pub const MIB: usize = 1024 * KIB;
/// One gibibyte, in bytes.
pub const GIB: usize = 1024 * MIB;

/// Largest request or response that a frame may announce (Kafka's `socket.request.max.bytes`).
pub const FRAME_BYTES_MAX: usize = 100 * MIB;

/// One part in so many of the memory for requests is kept for small ones, whatever large ones take.
pub const SMALL_REQUESTS_SHARE: usize = 8;

/// Largest record batch that a topic may be set to accept; positions inside a segment are 32 bits.
pub const BATCH_BYTES_MAX: usize = 64 * MIB;

/// Largest segment; positions inside a segment are 32 bits.
pub const SEGMENT_BYTES_MAX: usize = 2 * GIB - 1;

/// Alignment of direct I/O: offsets, lengths and addresses. Covers 512-byte and 4 KiB sectors.
pub const IO_ALIGNMENT: usize = 4 * KIB;

/// Pending bytes of one partition in one commit group from which they bypass the write-ahead log and go
/// straight to the segment: below it one shared write wins, above it writing twice costs more than a sync.
pub const DIRECT_COMMIT_BYTES_MIN: usize = 256 * KIB;

/// Partitions that one topic may have.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Length of a topic's name in bytes, as in Kafka, whose directories need room for a suffix.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

const _: () = assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX, "a batch must fit into a frame");
const _: () = assert!(BATCH_BYTES_MAX < SEGMENT_BYTES_MAX, "a batch must fit into a segment");
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as usize, "segment positions are 32 bits");
const _: () = assert!(IO_ALIGNMENT.is_power_of_two());
const _: () = assert!(DIRECT_COMMIT_BYTES_MIN.is_multiple_of(IO_ALIGNMENT));
