//! Which session should hold which shard: sticky, balanced, and worked out alike by every replica.

/// The owner that each shard should have, in the order of `holders`. `None` everywhere when there are no sessions.
///
/// `sessions` are those that live and are not leaving, in any order; `holders` says who holds each shard now. A
/// holder that is not among the sessions counts as none.
///
/// Everyone keeps what it holds up to its quota. Quotas differ by at most one; the remainder goes to those who hold
/// more than the others already, then by rank of the name: so no other even assignment moves fewer shards. What is
/// free or over a quota is matched with those below theirs in the order of shards and names, so that a move that was
/// made does not change the moves that are still to make.
pub fn assign<S: Ord + Clone>(sessions: &[S], holders: &[Option<S>]) -> Vec<Option<S>> {
    let mut names: Vec<&S> = sessions.iter().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return vec![None; holders.len()];
    }
    let holders: Vec<Option<usize>> =
        holders.iter().map(|holder| names.binary_search(&holder.as_ref()?).ok()).collect();

    let mut room = quotas(names.len(), &holders);
    let mut owners: Vec<Option<usize>> = holders
        .iter()
        .map(|holder| {
            let room = room.get_mut((*holder)?)?;
            *room = room.checked_sub(1)?;
            *holder
        })
        .collect();

    let mut takers = room.iter().enumerate().flat_map(|(rank, room)| std::iter::repeat_n(rank, *room));
    for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
        *owner = takers.next();
    }
    owners.into_iter().map(|rank| rank.map(|rank| names[rank].clone())).collect()
}

/// How many shards each session should hold, by rank of its name.
fn quotas(sessions: usize, holders: &[Option<usize>]) -> Vec<usize> {
    let (least, remainder) = (holders.len() / sessions, holders.len() % sessions);
    let mut held = vec![0usize; sessions];
    holders.iter().flatten().for_each(|rank| held[*rank] += 1);
    let mut ranks: Vec<usize> = (0..sessions).collect();
    ranks.sort_by_key(|rank| held[*rank] <= least); // stable: equal ones stay in the order of their names
    let mut quotas = vec![least; sessions];
    ranks[..remainder].iter().for_each(|rank| quotas[*rank] += 1);
    quotas
}

#[cfg(test)]
#[path = "tests/assignment.rs"]
mod tests;
