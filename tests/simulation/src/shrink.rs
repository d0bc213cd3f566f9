//! The shortest history that still goes wrong.

use crate::world::{Scenario, World};

/// Leaves out faults of a failing scenario for as long as the same invariant is violated.
pub fn shrink(scenario: &Scenario) -> Scenario {
    let invariant = |scenario: &Scenario| World::run(scenario).violation.map(|violation| violation.invariant);
    let wanted = invariant(scenario);
    let mut shortest = Scenario { faults: Some((0..crate::fault::COUNT_MAX).collect()), ..scenario.clone() };
    loop {
        let faults = shortest.faults.clone().unwrap_or_default();
        let shorter = (0..faults.len()).rev().find_map(|left_out| {
            let mut fewer = faults.clone();
            fewer.remove(left_out);
            let candidate = Scenario { faults: Some(fewer), ..scenario.clone() };
            (invariant(&candidate) == wanted).then_some(candidate)
        });
        match shorter {
            Some(shorter) => shortest = shorter,
            None => return shortest,
        }
    }
}
