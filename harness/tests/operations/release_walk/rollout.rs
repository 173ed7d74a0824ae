//! How the Deployment controller replaces pods: which it creates and deletes next. Pure.

use super::objects::DeploymentSpec;

/// A pod of a Deployment that is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodState {
    /// Whether it has the present template.
    pub is_current: bool,
    pub is_available: bool,
}

/// Returns the number of pods to create, and the indexes of those to delete. There are never more than `replicas` and
/// `maxSurge` pods, and never fewer available ones than `replicas` without `maxUnavailable` because of a deletion.
pub fn next_actions(spec: &DeploymentSpec, pods: &[PodState]) -> (usize, Vec<usize>) {
    let count = |wanted: &dyn Fn(&PodState) -> bool| pods.iter().filter(|pod| wanted(pod)).count();
    let current = count(&|pod| pod.is_current);
    let rolling = &spec.strategy.rolling_update;
    let room = (spec.replicas + rolling.max_surge).saturating_sub(pods.len());
    let create = spec.replicas.saturating_sub(current).min(room);

    let least = spec.replicas.saturating_sub(rolling.max_unavailable);
    let unavailable = count(&|pod| pod.is_current && !pod.is_available);
    let mut deletable = pods.len().saturating_sub(least + unavailable);
    let mut spare = count(&|pod| pod.is_available).saturating_sub(least);
    let mut deleted = Vec::new();
    // Old pods that do not work go first.
    let old = || pods.iter().enumerate().filter(|(_, pod)| !pod.is_current);
    for (index, pod) in
        old().filter(|(_, pod)| !pod.is_available).chain(old().filter(|(_, pod)| pod.is_available))
    {
        if deletable == 0 || (pod.is_available && spare == 0) {
            continue;
        }
        deletable -= 1;
        spare -= usize::from(pod.is_available);
        deleted.push(index);
    }
    (create, deleted)
}
