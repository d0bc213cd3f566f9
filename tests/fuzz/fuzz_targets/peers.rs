//! Peers that lie, stall, trickle, or never read, played against the real transport in simulated time.
//!
//! The input says what the first of two dozen peers do, and chooses what the others do. Whatever that is: what frames
//! and replies hold stays within the budgets, each peer that stops is gone when its time is over, and a well-behaved neighbour is
//! answered soon all the while.

#![no_main]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_base::Payload;
use millrace_transport::{
    CloseReason, Connection, InProcess, Peer, Pipeline, Reply, Service, TransportLimits, TransportMetrics,
};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const KIB: usize = 1024;
const FRAME_BYTES_MAX: usize = 256 * KIB;
const PEERS: usize = 24;
/// What the sockets of both sides take.
const PIPE_BYTES: usize = 16 * KIB;
/// Longer than a peer that does nothing may stay.
const PEER_LIFE: Duration = Duration::from_secs(300);
/// How long a neighbour may wait. At worst each of the others has the reserve before it, and is given up after the
/// three seconds that it may stall while memory is short.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the neighbour asks, and how often.
const REQUESTS: [usize; 4] = [100, 10 * KIB, 100, 200 * KIB];
const BETWEEN_REQUESTS: Duration = Duration::from_millis(700);
const ROUNDS: usize = 30;

fn limits() -> TransportLimits {
    TransportLimits {
        frame_bytes_max: FRAME_BYTES_MAX,
        receive_bytes_max: 768 * KIB,
        receive_pool_bytes: 256 * KIB,
        reply_bytes_max: 512 * KIB,
        idle_timeout: Duration::from_secs(60),
        in_flight_bytes_max: 256 * KIB,
        in_flight_max: 8,
        ..TransportLimits::default()
    }
}

/// What one peer does, and then does no more.
#[derive(Clone, Copy, Debug)]
enum Play {
    Nothing,
    /// So many bytes of a length.
    Prefix(usize),
    /// A length, and so many bytes of its frame.
    Part {
        announced: usize,
        sent: usize,
    },
    /// A frame in pieces with pauses between them.
    Trickle {
        announced: usize,
        piece: usize,
        pause: Duration,
    },
    /// Requests for long replies that it does not read.
    Deaf {
        requests: usize,
    },
    /// A request that is answered late, and a frame behind it.
    Behind {
        announced: usize,
        sent: usize,
    },
    Garbage,
    HangUp {
        announced: usize,
        sent: usize,
    },
}

impl Play {
    fn of([kind, a, b]: [u8; 3]) -> Self {
        let announced = 1 + usize::from(a) * FRAME_BYTES_MAX / 256;
        let sent = announced * usize::from(b) / 256;
        match kind % 8 {
            0 => Self::Nothing,
            1 => Self::Prefix(usize::from(a) % 5),
            2 => Self::Part { announced, sent },
            3 => Self::Trickle {
                announced,
                piece: 1 + usize::from(b) * 8,
                pause: Duration::from_millis(50 + 20 * u64::from(a ^ b)),
            },
            4 => Self::Deaf { requests: 1 + usize::from(a) % 40 },
            5 => Self::Behind { announced, sent },
            6 => Self::Garbage,
            _ => Self::HangUp { announced, sent },
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(plays(data)));
});

/// What the input says, and chance that follows from it.
fn plays(data: &[u8]) -> Vec<Play> {
    let mut chance = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let by_chance = std::iter::from_fn(|| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, ..] = chance.to_be_bytes();
        Some([a, b, c])
    });
    let said = data.chunks_exact(3).map(|said| [said[0], said[1], said[2]]);
    said.chain(by_chance).take(PEERS).map(Play::of).collect()
}

async fn run(plays: Vec<Play>) {
    let metrics = TransportMetrics::register(&Registry::new()).expect("new names");
    let transport = InProcess::new(Arc::new(Echo), Arc::new(metrics), limits()).expect("limits that agree");
    let transport = Arc::new(transport);
    let mut served = JoinSet::new();
    for play in plays {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let transport = Arc::clone(&transport);
        served.spawn(async move {
            // The peer stays until it is told to go, unless it is one that hangs up.
            let peer = tokio::spawn(act(play, theirs));
            let ended = timeout(PEER_LIFE, transport.serve(ours)).await;
            assert!(ended.is_ok(), "{play:?} was borne for {PEER_LIFE:?}");
            peer.abort();
        });
    }
    neighbour(&transport).await;
    while let Some(ended) = served.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    assert_eq!((transport.receive_bytes(), transport.reply_bytes()), (0, 0), "what nobody holds is paid for");
}

async fn act(play: Play, mut pipe: DuplexStream) {
    // That the other side has hung up is what is looked for.
    let _ = send(play, &mut pipe).await;
    if !matches!(play, Play::HangUp { .. }) {
        std::future::pending::<()>().await;
    }
}

async fn send(play: Play, pipe: &mut DuplexStream) -> std::io::Result<()> {
    match play {
        Play::Nothing => {}
        Play::Prefix(bytes) => pipe.write_all(&[0, 3, 0, 0][..bytes.min(4)]).await?,
        Play::Part { announced, sent } | Play::HangUp { announced, sent } => {
            pipe.write_all(&frame(b'e', announced)[..4 + sent]).await?;
        }
        Play::Trickle { announced, piece, pause } => {
            for piece in frame(b'e', announced).chunks(piece) {
                pipe.write_all(piece).await?;
                sleep(pause).await;
            }
        }
        Play::Deaf { requests } => pipe.write_all(&frame(b'b', 100).repeat(requests)).await?,
        Play::Behind { announced, sent } => {
            pipe.write_all(&frame(b'l', 10).repeat(8)).await?;
            pipe.write_all(&frame(b'e', announced)[..4 + sent]).await?;
        }
        Play::Garbage => pipe.write_all(b"GET / HTTP/1.1\r\n\r\n").await?,
    }
    Ok(())
}

/// Asks small and large things by turns, and is answered.
async fn neighbour(transport: &Arc<InProcess>) {
    let (ours, mut pipe) = tokio::io::duplex(PIPE_BYTES);
    let serving = {
        let transport = Arc::clone(transport);
        tokio::spawn(async move { transport.serve(ours).await })
    };
    for round in 0..ROUNDS {
        let len = REQUESTS[round % REQUESTS.len()];
        let asked = Instant::now();
        let (mut read, mut write) = tokio::io::split(&mut pipe);
        let request = frame(b'e', len);
        let answered = async {
            let mut answer = vec![0; request.len()];
            let (written, got) = tokio::join!(write.write_all(&request), read.read_exact(&mut answer));
            written.expect("a request is taken");
            got.expect("a request is answered");
            assert!(answer == request);
        };
        let answered = timeout(PATIENCE, answered).await;
        assert!(answered.is_ok(), "a request of {len} bytes waited since {asked:?}");
        assert!(transport.receive_bytes() <= limits().receive_bytes_max);
        assert!(transport.reply_bytes() <= 4 * limits().reply_bytes_max + FRAME_BYTES_MAX);
        sleep(BETWEEN_REQUESTS).await;
    }
    drop(pipe);
    assert_eq!(serving.await.expect("no panic"), Some("peer_closed"));
}

fn frame(kind: u8, len: usize) -> Vec<u8> {
    let mut frame = u32::try_from(len).expect("frames are short").to_be_bytes().to_vec();
    frame.resize(4 + len, kind);
    frame
}

/// Answers by the first byte of a frame: an echo, 64 KiB, or an echo after ten seconds.
#[derive(Clone)]
struct Echo;

impl Service for Echo {
    fn connect(&self, _: &Peer) -> Arc<dyn Connection> {
        Arc::new(Self)
    }
}

impl Connection for Echo {
    fn open_pipeline(&self) -> Box<dyn Pipeline> {
        Box::new(Self)
    }
}

impl Pipeline for Echo {
    fn start(
        &mut self,
        frame: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, CloseReason>> + Send + '_>> {
        Box::pin(async move {
            Ok(match frame.first() {
                Some(b'b') => Reply::Ready(answer(vec![7; 64 * KIB].into())),
                Some(b'l') => Reply::Later(Box::pin(async move {
                    sleep(Duration::from_secs(10)).await;
                    answer(frame)
                })),
                _ => Reply::Ready(answer(frame)),
            })
        })
    }
}

fn answer(frame: Bytes) -> Payload {
    let len = u32::try_from(frame.len()).expect("frames are short").to_be_bytes();
    let mut payload = Payload::from(Bytes::copy_from_slice(&len));
    payload.push_bytes(frame);
    payload
}
