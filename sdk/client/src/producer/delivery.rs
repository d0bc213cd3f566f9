//! Deliveries: what became of a record. One shared state per batch, none per record.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::SendError;

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub partition: i32,
    /// -1 with [`crate::Acks::None`], and for a duplicate whose offset the broker no longer knows.
    pub offset: i64,
}

/// Where consecutive records of a batch were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRange {
    pub partition: i32,
    /// Offset of the first; the rest follow without gaps. -1 as in [`Stored::offset`].
    pub first_offset: i64,
    pub count: u32,
}

/// Resolves when the record is stored, or surely is not.
#[must_use = "a delivery tells whether the record was stored"]
pub struct Delivery {
    _inner: (),
}

impl Future for Delivery {
    type Output = Result<Stored, SendError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}

/// Resolves when all records of one `send_batch` are stored, or with the first error.
#[must_use = "a delivery tells whether the records were stored"]
pub struct BatchDelivery {
    _inner: (),
}

impl Future for BatchDelivery {
    type Output = Result<Vec<StoredRange>, SendError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}
