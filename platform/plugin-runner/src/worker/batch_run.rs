//! What is left to do of one batch, and what a failure means for it: the pure part of a worker.
//!
//! A plugin is called with the whole batch. When it fails for good, the batch is halved until the record at
//! fault stands alone, so that the policy deals with that record and all others go their way, in their order.
//! What the outside may take later is tried again first, as often as the deployment's `limits.retries` says.

use std::ops::Range;
use std::time::Duration;

use millrace_protocol::plugins::{Backoff, FailurePolicy};

/// What sort of failure a call ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// Nothing to do with the batch: it is tried again until it works.
    Passing,
    /// The outside did not take it, and may later.
    Retryable,
    /// These records will fail again.
    Final,
    /// The plugin, or what it delivers to, fails whatever it is given, so no record is to blame.
    Plugin,
    /// The batch cannot be read, so there are no records to choose among.
    Unreadable,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Call again after a pause.
    Again(Duration),
    /// Call with what [`BatchRun::next`] gives now: less.
    Narrower,
    /// Leave this record out.
    Skip(usize),
    /// Leave the whole batch out.
    SkipAll,
    DeadLetter(usize),
    /// Stop before this record.
    Halt(usize),
}

/// One batch on its way through a plugin.
#[derive(Clone, Debug)]
pub(crate) struct BatchRun {
    policy: FailurePolicy,
    /// Repetitions of a retryable failure under a policy that counts none.
    retries: u32,
    /// Runs of records still to be given to the plugin, the next one last.
    pending: Vec<Range<usize>>,
    attempts: u32,
    /// All repetitions are used up; the record at fault is looked for without more of them.
    exhausted: bool,
}

impl BatchRun {
    pub fn new(records: usize, policy: FailurePolicy, retries: u32) -> Self {
        let pending = std::iter::once(0..records).collect();
        Self { policy, retries, pending, attempts: 0, exhausted: false }
    }

    /// The records to be given to the plugin next, by their indexes; `None` when all are dealt with.
    pub fn next(&self) -> Option<Range<usize>> {
        self.pending.last().cloned()
    }

    pub fn succeeded(&mut self) {
        self.pending.pop();
        self.attempts = 0;
    }

    /// The first `records` of those given last have arrived, though the call failed. The next call begins
    /// behind them, with the policy's repetitions before it.
    pub fn delivered(&mut self, records: usize) {
        let Some(run) = self.pending.last_mut() else { return };
        if records == 0 {
            return;
        }
        // A failure leaves at least one record undelivered.
        run.start = run.start.saturating_add(records).min(run.end.saturating_sub(1)).max(run.start);
        self.attempts = 0;
    }

    pub fn failed(&mut self, class: FailureClass) -> Verdict {
        let Some(run) = self.pending.last().cloned() else { return Verdict::Halt(0) };
        match class {
            FailureClass::Passing => self.again(Backoff::default()),
            FailureClass::Retryable => self.retryable(run),
            FailureClass::Plugin => Verdict::Halt(run.start),
            FailureClass::Unreadable => match self.policy {
                FailurePolicy::Skip => {
                    self.pending.clear();
                    Verdict::SkipAll
                }
                _ => Verdict::Halt(run.start),
            },
            FailureClass::Final => self.finally(run),
        }
    }

    /// Whatever the outside does not take after all repetitions is dealt with as what it never takes.
    fn retryable(&mut self, run: Range<usize>) -> Verdict {
        let (repetitions, backoff) = match self.policy {
            FailurePolicy::Retry { attempts, backoff } => (attempts, backoff),
            _ => (self.retries, Backoff::default()),
        };
        if !self.exhausted && self.attempts < repetitions {
            return self.again(backoff);
        }
        self.exhausted = true;
        self.finally(run)
    }

    fn finally(&mut self, run: Range<usize>) -> Verdict {
        if let FailurePolicy::Retry { attempts, backoff } = self.policy
            && !self.exhausted
        {
            if self.attempts < attempts {
                return self.again(backoff);
            }
            self.exhausted = true;
        }
        if run.len() > 1 {
            let middle = run.start + run.len() / 2;
            self.pending.pop();
            self.pending.extend([middle..run.end, run.start..middle]);
            self.attempts = 0;
            return Verdict::Narrower;
        }
        match self.policy {
            FailurePolicy::Halt | FailurePolicy::Retry { .. } => Verdict::Halt(run.start),
            FailurePolicy::Skip => {
                self.dealt_with();
                Verdict::Skip(run.start)
            }
            FailurePolicy::DeadLetter { .. } => {
                self.dealt_with();
                Verdict::DeadLetter(run.start)
            }
        }
    }

    /// The record at fault is out of the way, and what comes has all repetitions again: an outside that is down takes
    /// its time for each record, and does not sweep a batch away.
    fn dealt_with(&mut self) {
        self.succeeded();
        self.exhausted = false;
    }

    fn again(&mut self, backoff: Backoff) -> Verdict {
        self.attempts = self.attempts.saturating_add(1);
        Verdict::Again(backoff.pause(self.attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: u32 = 3;

    /// Runs a plugin that fails on the records `bad`; returns what was delivered, in order, and the verdicts
    /// that took records out.
    fn run(records: usize, policy: FailurePolicy, bad: &[usize]) -> (Vec<usize>, Vec<Verdict>, usize) {
        let mut run = BatchRun::new(records, policy, RETRIES);
        let (mut delivered, mut verdicts, mut calls) = (Vec::new(), Vec::new(), 0);
        while let Some(range) = run.next() {
            calls += 1;
            if !bad.iter().any(|index| range.contains(index)) {
                delivered.extend(range);
                run.succeeded();
                continue;
            }
            match run.failed(FailureClass::Final) {
                Verdict::Narrower | Verdict::Again(_) => {}
                verdict @ Verdict::Halt(_) => {
                    verdicts.push(verdict);
                    break;
                }
                verdict => verdicts.push(verdict),
            }
        }
        (delivered, verdicts, calls)
    }

    #[test]
    fn only_the_records_at_fault_are_left_out_and_order_stays() {
        for bad in [vec![], vec![0], vec![99], vec![3, 4, 50], (0..100).collect::<Vec<usize>>()] {
            let (delivered, verdicts, _) = run(100, FailurePolicy::Skip, &bad);
            let expected: Vec<usize> = (0..100).filter(|index| !bad.contains(index)).collect();
            assert_eq!(delivered, expected);
            assert_eq!(verdicts, bad.iter().map(|index| Verdict::Skip(*index)).collect::<Vec<_>>());
        }
        let dead = FailurePolicy::DeadLetter { topic: "dead".into() };
        assert_eq!(run(8, dead, &[5]).1, [Verdict::DeadLetter(5)]);
    }

    #[test]
    fn one_record_at_fault_costs_a_number_of_calls_that_grows_with_the_logarithm() {
        let (_, _, calls) = run(1024, FailurePolicy::Skip, &[700]);
        assert_eq!(calls, 2 * 10 + 1);
    }

    #[test]
    fn a_halt_delivers_what_is_before_the_record_and_names_it() {
        let (delivered, verdicts, _) = run(100, FailurePolicy::Halt, &[61, 70]);
        assert_eq!(delivered, (0..61).collect::<Vec<_>>());
        assert_eq!(verdicts, [Verdict::Halt(61)]);
    }

    #[test]
    fn repetitions_come_first_and_are_counted_once_a_batch() {
        let backoff = Backoff { first_ms: 10, max_ms: 25 };
        let mut run = BatchRun::new(4, FailurePolicy::Retry { attempts: 2, backoff }, RETRIES);
        let pause = |ms| Verdict::Again(Duration::from_millis(ms));
        assert_eq!(run.failed(FailureClass::Final), pause(10));
        assert_eq!(run.failed(FailureClass::Final), pause(20));
        assert_eq!(run.failed(FailureClass::Final), Verdict::Narrower);
        assert_eq!(run.failed(FailureClass::Final), Verdict::Narrower);
        assert_eq!(run.failed(FailureClass::Final), Verdict::Halt(0));
    }

    #[test]
    fn what_is_delivered_is_not_given_again() {
        // A receiver of one record after the other that refuses 61 of 100.
        let mut run = BatchRun::new(100, FailurePolicy::Skip, RETRIES);
        let (mut sent, mut skipped) = (Vec::new(), Vec::new());
        while let Some(range) = run.next() {
            let Some(bad) = range.clone().find(|index| *index == 61) else {
                sent.extend(range);
                run.succeeded();
                continue;
            };
            sent.extend(range.start..bad);
            run.delivered(bad - range.start);
            if let Verdict::Skip(index) = run.failed(FailureClass::Final) {
                skipped.push(index);
            }
        }
        assert_eq!(sent, (0..100).filter(|index| *index != 61).collect::<Vec<_>>());
        assert_eq!(skipped, [61]);
        let mut run = BatchRun::new(4, FailurePolicy::Halt, RETRIES);
        run.delivered(9);
        assert_eq!(run.failed(FailureClass::Plugin), Verdict::Halt(3), "a lying sink passes over no record");
    }

    #[test]
    fn what_passes_is_waited_for_and_a_broken_plugin_blames_no_record() {
        let mut run = BatchRun::new(4, FailurePolicy::Skip, RETRIES);
        for _ in 0..100 {
            assert!(matches!(run.failed(FailureClass::Passing), Verdict::Again(_)));
        }
        assert_eq!(run.failed(FailureClass::Plugin), Verdict::Halt(0));
        assert_eq!(run.failed(FailureClass::Unreadable), Verdict::SkipAll);
        assert_eq!(run.next(), None);
    }

    /// The number of tries, and how each record ended, of an outside that answers 500 to the records `bad`.
    fn outside(policy: FailurePolicy, bad: &[usize]) -> (usize, Vec<Verdict>) {
        let mut run = BatchRun::new(8, policy, RETRIES);
        let (mut tries, mut verdicts) = (0, Vec::new());
        while let Some(range) = run.next() {
            if !bad.iter().any(|index| range.contains(index)) {
                run.succeeded();
                continue;
            }
            assert!(tries < 1_000, "it is tried for ever");
            match run.failed(FailureClass::Retryable) {
                Verdict::Again(_) => tries += 1,
                Verdict::Narrower => {}
                verdict => verdicts.push(verdict),
            }
            if matches!(verdicts.last(), Some(Verdict::Halt(_))) {
                break;
            }
        }
        (tries, verdicts)
    }

    /// The earlier rule, "for ever", let one record stop a partition whatever its policy said.
    #[test]
    fn what_the_outside_does_not_take_is_tried_again_and_then_the_policys() {
        let retries = RETRIES as usize;
        assert_eq!(outside(FailurePolicy::Skip, &[5]), (retries, vec![Verdict::Skip(5)]));
        assert_eq!(outside(FailurePolicy::Halt, &[5]), (retries, vec![Verdict::Halt(5)]));
        let dead = FailurePolicy::DeadLetter { topic: "dead".into() };
        assert_eq!(outside(dead, &[2, 5]).1, [Verdict::DeadLetter(2), Verdict::DeadLetter(5)]);
        let retry = FailurePolicy::Retry { attempts: 2, backoff: Backoff::default() };
        assert_eq!(outside(retry, &[5]), (2, vec![Verdict::Halt(5)]));
        // An outside that is down has its time for every record.
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(outside(FailurePolicy::Skip, &all).0, 8 * retries);
    }
}
