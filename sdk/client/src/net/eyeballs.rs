//! Several addresses of one host, tried side by side (RFC 8305): the next one starts when the one before has failed
//! or has taken longer than a head start; the first that connects wins, and the others are dropped.
//!
//! Knows no sockets: an attempt is a future of the caller's, and dropping it must undo it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// How long an attempt is alone before the next one joins it: RFC 8305's "connection attempt delay".
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// The resolver's order, the address families taking turns from the first one on (RFC 8305, section 4).
pub(crate) fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<SocketAddr> = addresses.into_iter().collect();
    let Some(first) = addresses.first() else { return addresses };
    let is_v6 = first.is_ipv6();
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == is_v6);
    let longest = preferred.len().max(others.len());
    (0..longest).flat_map(|index| [preferred.get(index), others.get(index)]).flatten().copied().collect()
}

/// The first success among attempts at `addresses`; without one the last failure, and None without addresses.
pub(crate) async fn race<T, E, F>(
    addresses: Vec<SocketAddr>,
    head_start: Duration,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    for next in addresses {
        running.push(attempt(next));
        tokio::select! {
            Some(ended) = running.next() => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = Some(error),
            },
            () = tokio::time::sleep(head_start) => {}
        }
    }
    while let Some(ended) = running.next().await {
        match ended {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        assert_eq!(interleaved(mixed), addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleaved([]), []);
    }

    /// Long enough that a test which waits for it hangs.
    const FOR_EVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_silent_address_costs_a_head_start_and_is_dropped() {
        struct Undone<'a>(&'a RefCell<Vec<u16>>, u16);
        impl Drop for Undone<'_> {
            fn drop(&mut self) {
                self.0.borrow_mut().push(self.1);
            }
        }
        let (begun, undone) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let all = addresses(&["[::1]:1", "127.0.0.1:2", "127.0.0.1:3"]);
        let connected = race(all, Duration::from_millis(1), |address| {
            begun.borrow_mut().push(address.port());
            let undone = &undone;
            async move {
                let _guard = address.is_ipv6().then(|| Undone(undone, address.port()));
                if address.is_ipv6() {
                    pending::<()>().await;
                }
                Ok::<_, ()>(address.port())
            }
        });
        assert_eq!(connected.await, Ok(2));
        assert_eq!(*begun.borrow(), [1, 2], "one after the other, none behind a success");
        assert_eq!(*undone.borrow(), [1], "the loser is dropped");
    }

    #[tokio::test]
    async fn the_first_address_wins_when_it_answers_in_its_head_start() {
        let all = addresses(&["[::1]:1", "127.0.0.1:2"]);
        let connected = race(all, FOR_EVER, |address| async move { Ok::<_, ()>(address.port()) }).await;
        assert_eq!(connected, Ok(1));
    }

    #[tokio::test]
    async fn a_failure_lets_the_next_begin_at_once_and_the_last_one_is_told() {
        let all = addresses(&["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"]);
        let failed = race(all, FOR_EVER, |address| async move { Err::<(), _>(address.port()) }).await;
        assert_eq!(failed, Err(Some(3)));
        let none = race(Vec::new(), FOR_EVER, |_| async { Err::<(), ()>(()) }).await;
        assert_eq!(none, Err(None));
    }
}
