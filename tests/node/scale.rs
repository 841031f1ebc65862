//! `kubectl scale` while sources change.

use crate::installed::{Installed, say};
use crate::load::Load;
use crate::shards::until_even;

#[tokio::test]
async fn scaled_up_and_down_under_load_no_copy_is_missed() {
    let Some(installed) = Installed::turn("scaled_up_and_down_under_load_no_copy_is_missed").await else { return };
    installed.scale(1).await;
    until_even(&installed, 1).await;
    let load = Load::begin(&installed, "scale", 300).await;
    let mut from = 0;
    for replicas in [4, 8, 3, 1] {
        load.longest(&mut from);
        installed.scale(replicas).await;
        let even = until_even(&installed, replicas).await;
        // The last holders at work as well.
        load.until_more(200).await;
        say(format_args!(
            "scaled to {replicas}: even after {even:.1?}; longest wait for a copy {:.1?}",
            load.longest(&mut from)
        ));
    }
    let report = load.end().await;
    say(format_args!("1 → 4 → 8 → 3 → 1: {report}"));
    installed.end().await;
}
