//! Tests of `assignment.rs`.

use super::*;
use crate::rules::shard::SHARDS;
use proptest::prelude::*;

type Holders = Vec<Option<u8>>;

fn held(holders: &Holders, session: u8) -> usize {
    holders.iter().filter(|holder| **holder == Some(session)).count()
}

/// Even within one is reached from `before` with no fewer moves than this.
fn fewest_moves(before: &Holders, sessions: &[u8]) -> usize {
    let (least, mut remainder) = (SHARDS / sessions.len(), SHARDS % sessions.len());
    let mut moves = before.iter().filter(|holder| holder.is_none_or(|holder| !sessions.contains(&holder))).count();
    for session in sessions {
        let mut surplus = held(before, *session).saturating_sub(least);
        if surplus > 0 && remainder > 0 {
            remainder -= 1;
            surplus -= 1;
        }
        moves += surplus;
    }
    moves
}

proptest! {
    /// One to eighty replicas, joining and leaving in any order, each change met in the middle of the moves that
    /// the one before had asked for.
    #[test]
    fn even_least_moves_and_alike_everywhere(
        changes in prop::collection::vec((0u8..80, 0usize..=SHARDS), 1..60),
        shuffle in any::<u64>(),
    ) {
        let mut sessions: Vec<u8> = vec![];
        let mut holders: Holders = vec![None; SHARDS];
        for (who, moved) in changes {
            match sessions.iter().position(|session| *session == who) {
                Some(at) if sessions.len() > 1 => { sessions.remove(at); }
                Some(_) => continue,
                None => sessions.push(who),
            }
            let after = assign(&sessions, &holders);

            let counts: Vec<usize> = sessions.iter().map(|session| held(&after, *session)).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), SHARDS);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);

            let moves = (0..SHARDS).filter(|shard| holders[*shard] != after[*shard]).count();
            prop_assert_eq!(moves, fewest_moves(&holders, &sessions));

            let mut otherwise = sessions.clone();
            otherwise.rotate_left(shuffle as usize % sessions.len());
            otherwise.reverse();
            otherwise.push(sessions[0]);
            prop_assert_eq!(&after, &assign(&otherwise, &holders));

            holders[..moved].copy_from_slice(&after[..moved]);
            // The moves still to make are the same as before.
            prop_assert_eq!(&after, &assign(&sessions, &holders));
        }
    }
}

#[test]
fn more_sessions_than_shards_leaves_some_with_nothing() {
    let sessions: Vec<u8> = (0..70).collect();
    let after = assign(&sessions, &[None; SHARDS]);
    assert_eq!(after, (0..SHARDS as u8).map(Some).collect::<Holders>());
    assert_eq!(assign(&sessions, &after), after);
}

#[test]
fn with_no_sessions_nobody_is_given_anything() {
    assert_eq!(assign::<u8>(&[], &[Some(1), None]), [None, None]);
}

#[test]
fn the_remainder_stays_with_those_who_have_it() {
    // "a" ranks first, but "b" holds one more than the others already: no move.
    let holders = ["a", "b", "b", "c"].map(Some);
    assert_eq!(assign(&["a", "b", "c"], &holders), holders);
}
