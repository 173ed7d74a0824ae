//! Fault injection for tests (`tidings_shared::sabotage`): removes single rules of the seed by changing the input and
//! the result of its decision. Without a removed rule, these functions change nothing.

use tidings_shared::{
    ids::Epoch,
    log::{Bases, Survival},
    sabotage::is_removed,
};

use super::plan::{SeedPlan, SurvivingState};

/// Changes the input of a decision: the surviving state of a room that is seeded for `epoch`.
pub(super) fn tamper_with_survived(survived: &SurvivingState, epoch: Epoch) -> SurvivingState {
    let mut survived = survived.clone();
    if is_removed("base counts what survived") {
        survived.hash = None;
    }
    if let Some((of, _)) = &mut survived.hash
        && is_removed("surviving seq is limited by later bases")
    {
        *of = Epoch(epoch.0 - 1);
    }
    survived
}

/// The bases of a room that is seeded for `epoch`, as its decision reads them.
pub(super) fn tamper_with_bases(mut bases: Bases, epoch: Epoch) -> Bases {
    bases.0.retain(|(of, _)| *of != epoch || !is_removed("a base is decided once per epoch"));
    bases
}

/// Changes the result of a decision.
pub(super) fn tamper_with_plan(plan: &mut SeedPlan, survived: &SurvivingState) {
    if survived.tail_last == Some(plan.seq) && is_removed("tail stays only with its whole hash") {
        plan.survived = Survival::HashAndTail;
    }
    plan.must_wait &= !is_removed("a seed with marks only waits for PostgreSQL");
}
