//! Peers that break the protocol, stop half-way, or take more than their share.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millrace_test_wait::a_while;
use millrace_transport::{TransportLimits, quic};
use support::{Setup, ends, frame, receive, send, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_millis(200);

fn limited(change: impl FnOnce(&mut TransportLimits)) -> Setup {
    let mut limits = TransportLimits::default();
    change(&mut limits);
    Setup { limits, ..Setup::default() }
}

#[tokio::test]
async fn frames_over_the_limit_and_garbage_end_the_connection() {
    let server = limited(|limits| limits.frame_bytes_max = 1000).start();
    for (number, garbage) in
        [&[0, 0, 3, 0xe9, 1][..], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"]
            .into_iter()
            .enumerate()
    {
        let mut stream = server.tcp().await;
        stream.write_all(garbage).await.unwrap();
        ends(&mut stream).await;
        let count = number as i64 + 1;
        server.until_metric("protocol_errors_total", &["tcp", "frame_too_large"], count).await;
    }
    assert_eq!(server.metric("receive_buffer_bytes", &[]), 0);
    let mut stream = server.tcp().await;
    send(&mut stream, &[b'e'; 1000]).await;
    assert_eq!(receive(&mut stream).await.len(), 1000, "the limit itself is allowed");
}

#[tokio::test]
async fn replies_before_a_broken_frame_are_sent() {
    let server = Setup::default().start();
    let mut stream = server.tcp().await;
    let burst = [frame(b"e1"), frame(b"e2"), vec![0xff; 4]].concat();
    stream.write_all(&burst).await.unwrap();
    assert_eq!(receive(&mut stream).await, b"e1");
    assert_eq!(receive(&mut stream).await, b"e2");
    ends(&mut stream).await;
}

#[tokio::test]
async fn a_broken_frame_on_one_stream_ends_the_quic_connection() {
    let server = Setup::default().start();
    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut stream, _receive) = connection.open_bi().await.unwrap();
    stream.write_all(&[0xff; 8]).await.unwrap();
    let error = within(connection.closed()).await;
    assert!(error.to_string().contains("limit is 104857600"), "{error}");
    server.until_metric("protocol_errors_total", &["quic", "frame_too_large"], 1).await;
}

#[tokio::test]
async fn a_cut_frame_is_noticed() {
    let server = Setup::default().start();
    for (count, part) in [&[0, 0][..], &[0, 0, 0, 9, 1], &[0, 1, 0, 0, 1]].into_iter().enumerate() {
        let mut stream = server.tcp().await;
        stream.write_all(part).await.unwrap();
        stream.shutdown().await.unwrap();
        ends(&mut stream).await;
        server.until_metric("closed_total", &["tcp", "truncated"], count as i64 + 1).await;
    }
}

#[tokio::test]
async fn a_frame_that_stops_half_way_is_given_up() {
    let server = limited(|limits| limits.stall_timeout = SOON).start();
    let mut stream = server.tcp().await;
    let mut part = frame(&[b'e'; 100_000]);
    part.truncate(60_000);
    stream.write_all(&part).await.unwrap();
    server.until_metric("receive_buffer_bytes", &[], 100_000).await;
    ends(&mut stream).await;
    server.until_metric("closed_total", &["tcp", "frame_timeout"], 1).await;
    assert_eq!(server.metric("receive_buffer_bytes", &[]), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_one_that_waits_for_a_reply() {
    let server = limited(|limits| limits.idle_timeout = SOON).start();
    let mut waiting = server.tcp().await;
    send(&mut waiting, b"later").await;
    let mut idle = server.tcp().await;
    send(&mut idle, b"e").await;
    receive(&mut idle).await;
    ends(&mut idle).await;
    server.until_metric("closed_total", &["tcp", "idle"], 1).await;
    a_while(SOON * 2).await;
    server.service.gate.add_permits(1);
    assert_eq!(receive(&mut waiting).await, b"later");
}

#[tokio::test]
async fn a_peer_that_never_reads_is_closed_and_holds_little() {
    let server = limited(|limits| {
        limits.stall_timeout = Duration::from_secs(1);
        limits.in_flight_bytes_max = 1 << 20;
    })
    .start();
    let mut stream = server.tcp().await;
    // Each asks for 256 KiB: far more than the socket buffers take.
    let requests = frame(b"bbbbb").repeat(2000);
    let _ = stream.write_all(&requests).await;
    server.until_metric("closed_total", &["tcp", "slow_reader"], 1).await;
    let started = server.service.started.load(std::sync::atomic::Ordering::SeqCst);
    assert!(started < 200, "{started} requests were started for a peer that does not read");

    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut stream, _unread) = connection.open_bi().await.unwrap();
    let _ = stream.write_all(&requests).await;
    within(connection.closed()).await;
    server.until_metric("closed_total", &["quic", "slow_reader"], 1).await;
}

#[tokio::test]
async fn replies_that_nobody_reads_are_bounded_together_and_hold_nobody_up() {
    const MIB: i64 = 1 << 20;
    let server = limited(|limits| {
        limits.reply_bytes_max = 8 << 20;
        limits.short_stall_timeout = SOON;
    })
    .start();
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = server.tcp().await;
        // Each is answered with 16 MiB, more than the sockets take.
        let _ = stream.write_all(&frame(&[b'b'; 257]).repeat(4)).await;
        deaf.push(stream);
    }
    let mut served = server.tcp().await;
    let answer = async {
        send(&mut served, b"e").await;
        receive(&mut served).await
    };
    let held = async {
        loop {
            let held = server.metric("reply_buffer_bytes", &[]);
            assert!(held < 4 * 8 * MIB + 16 * MIB + MIB, "{held} bytes");
            a_while(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        answer = answer => assert_eq!(answer, b"e"),
        () = held => {}
    }
    // Those that get their turn later stall, too.
    drop(deaf);
    server.until_metric("reply_buffer_bytes", &[], 0).await;
}

#[tokio::test]
async fn requests_wait_while_the_bounded_number_is_in_flight() {
    let server = limited(|limits| limits.in_flight_max = 3).start();
    let mut stream = server.tcp().await;
    for _ in 0..10 {
        send(&mut stream, b"later").await;
    }
    server.until_started(3).await;
    a_while(Duration::from_millis(20)).await;
    assert_eq!(server.service.started.load(std::sync::atomic::Ordering::SeqCst), 3);
    server.service.gate.add_permits(10);
    for _ in 0..10 {
        assert_eq!(receive(&mut stream).await, b"later");
    }
}

#[tokio::test]
async fn a_length_that_is_announced_takes_no_memory_from_anybody() {
    let server = limited(|limits| limits.receive_bytes_max = 2 * limits.frame_bytes_max).start();
    let mut liars = Vec::new();
    for _ in 0..24 {
        let mut liar = server.tcp().await;
        liar.write_all(&(100_u32 << 20).to_be_bytes()).await.unwrap();
        liars.push(liar);
    }
    server.until_metric("pipelines", &["tcp"], 24).await;
    let mut served = server.tcp().await;
    for body in [vec![b'e'; 10], vec![b'e'; 2 << 20]] {
        send(&mut served, &body).await;
        assert!(receive(&mut served).await == body);
    }
    assert_eq!(server.metric("receive_buffer_bytes", &[]), 0, "4 bytes are no frame");
}

#[tokio::test]
async fn receive_buffers_of_all_connections_are_bounded_together() {
    let server = limited(|limits| {
        limits.frame_bytes_max = 1 << 20;
        limits.receive_bytes_max = 2 << 20;
    })
    .start();
    // Eight frames that cannot all be held at once, each nine tenths there.
    let body = vec![b'e'; 1 << 20];
    let (begun, rest) = body.split_at(900_000);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let stream = server.tcp().await;
        let prefix = (body.len() as u32).to_be_bytes();
        let (read, mut write) = stream.into_split();
        write.write_all(&prefix).await.unwrap();
        streams.push((read, write));
    }
    let mut clients = tokio::task::JoinSet::new();
    for (mut read, mut write) in streams {
        let (begun, rest, len) = (begun.to_vec(), rest.to_vec(), body.len());
        clients.spawn(async move {
            write.write_all(&begun).await.unwrap();
            write.write_all(&rest).await.unwrap();
            assert_eq!(receive(&mut read).await.len(), len);
        });
    }
    while let Some(done) = within(clients.join_next()).await {
        done.unwrap();
        assert!(server.metric("receive_buffer_bytes", &[]) <= 2 << 20);
    }
    server.until_metric("receive_buffer_bytes", &[], 0).await;
}

#[tokio::test]
async fn connections_over_the_limits_are_turned_away() {
    let server = limited(|limits| limits.connections_max = 2).start();
    let mut kept = [server.tcp().await, server.tcp().await];
    for stream in &mut kept {
        send(stream, b"e").await;
        receive(stream).await;
    }
    ends(&mut server.tcp().await).await;
    assert_eq!(server.metric("rejected_total", &["connections_max"]), 1);
    let refused = server.quic(server.client_config(None), quic::ALPN).await.unwrap_err();
    assert!(refused.to_string().contains("refused"), "{refused}");
    drop(kept);
    server.until_metric("connections", &[], 0).await;
    let mut stream = server.tcp().await;
    send(&mut stream, b"e").await;
    receive(&mut stream).await;

    let server = limited(|limits| limits.connections_per_ip_max = Some(1)).start();
    let mut stream = server.tcp().await;
    send(&mut stream, b"e").await;
    receive(&mut stream).await;
    ends(&mut server.tcp().await).await;
    assert_eq!(server.metric("rejected_total", &["connections_per_ip_max"]), 1);
}

#[tokio::test]
async fn streams_beyond_the_limit_of_all_connections_are_reset() {
    let server = limited(|limits| limits.quic_streams_max = 2).start();
    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (mut request, mut reply) = connection.open_bi().await.unwrap();
        send(&mut request, b"e").await;
        receive(&mut reply).await;
        kept.push((request, reply));
    }
    let (mut request, mut reply) = connection.open_bi().await.unwrap();
    // It may be reset before all of this is written.
    let _ = request.write_all(&frame(b"e")).await;
    let refused = within(reply.read_chunk(100, true)).await.unwrap_err();
    assert!(
        matches!(refused, quinn::ReadError::Reset(code) if code == quic::code::CROWDED.into()),
        "{refused}"
    );
    assert_eq!(server.metric("rejected_total", &["quic_streams_max"]), 1);
    let (request, reply) = &mut kept[0];
    send(request, b"e").await;
    assert_eq!(receive(reply).await, b"e", "the others go on");
}

#[tokio::test]
async fn who_has_been_idle_for_the_longest_makes_room_when_all_connections_are_taken() {
    let server = limited(|limits| {
        limits.connections_max = 3;
        limits.idle_min = Duration::ZERO;
    })
    .start();
    // One that has said nothing, one that has, one that waits for its reply.
    let mut silent = server.tcp().await;
    server.until_metric("connections", &[], 1).await;
    let mut waiting = server.tcp().await;
    send(&mut waiting, b"later").await;
    let mut idle = server.tcp().await;
    send(&mut idle, b"e").await;
    receive(&mut idle).await;
    for gone in [&mut silent, &mut idle] {
        let mut served = server.tcp().await;
        send(&mut served, b"later").await;
        ends(gone).await;
        server.until_metric("connections", &[], 3).await;
        // It has to stay, and to be busy.
        tokio::spawn(async move { receive(&mut served).await });
    }
    server.until_metric("closed_total", &["crowded"], 2).await;
    server.until_metric("frames_total", &["tcp"], 4).await;
    ends(&mut server.tcp().await).await;
    assert_eq!(server.metric("rejected_total", &["connections_max"]), 1, "nobody else is idle");
    server.service.gate.add_permits(3);
    assert_eq!(receive(&mut waiting).await, b"later");
}

#[tokio::test]
async fn a_crowd_of_quic_handshakes_makes_clients_prove_their_address() {
    let server = limited(|limits| limits.retry_above = 0).start();
    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut request, mut reply) = connection.open_bi().await.unwrap();
    send(&mut request, b"e").await;
    assert_eq!(receive(&mut reply).await, b"e");
    assert_eq!(server.metric("quic_retries_total", &[]), 1);
}

#[tokio::test]
async fn a_lost_quic_connection_leaves_nothing_behind() {
    let server = Setup::default().start();
    let (endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut request, _reply) = connection.open_bi().await.unwrap();
    send(&mut request, b"later").await;
    server.until_metric("pipelines", &["quic"], 1).await;
    endpoint.close(0u32.into(), b"gone");
    server.until_metric("connections", &[], 0).await;
    server.until_metric("pipelines", &[], 0).await;
    server.until_metric("receive_buffer_bytes", &[], 0).await;
}

/// Datagrams that are no QUIC are dropped, and cost no connection.
#[tokio::test]
async fn garbage_datagrams_are_ignored() {
    let server = Setup::default().start();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for seed in 0..500u32 {
        let garbage: Vec<u8> = (0..1200u32).map(|i| (i.wrapping_mul(seed + 7) >> 3) as u8).collect();
        socket.send_to(&garbage, server.address).await.unwrap();
    }
    let (_endpoint, connection) = server.quic(server.client_config(None), quic::ALPN).await.unwrap();
    let (mut request, mut reply) = connection.open_bi().await.unwrap();
    send(&mut request, b"e").await;
    assert_eq!(receive(&mut reply).await, b"e");
    server.until_metric("handshakes", &[], 0).await;
}

/// Opens as many connections as descriptors allow here, none of which says anything.
async fn half_open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_cost_little_and_go_away() {
    // Both ends are in this process.
    let count = (descriptors() / 2).saturating_sub(100).min(4000);
    let server = limited(|limits| limits.handshake_timeout = Duration::from_secs(3)).start();
    let before = resident_bytes();
    let mut flood = half_open(server.address, count).await;
    // Some are stuck within a TLS handshake.
    for stream in flood.iter_mut().take(count / 4) {
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
    }
    server.until_metric("connections", &[], count as i64).await;
    let each = resident_bytes().saturating_sub(before) / count;
    let started = Instant::now();
    let mut served = server.tcp().await;
    send(&mut served, b"e").await;
    receive(&mut served).await;
    let answered = started.elapsed();
    assert!(answered < Duration::from_secs(1), "a proper client waited for {answered:?}");
    assert!(each < 16 * 1024, "{each} bytes for a half-open connection");
    server.until_metric("closed_total", &["handshake_timeout"], count as i64).await;
    assert_eq!(server.metric("connections", &[]), 1);
    send(&mut served, b"e").await;
    receive(&mut served).await;
}

fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    usize::try_from(limit.current.unwrap_or(100_000)).unwrap()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
