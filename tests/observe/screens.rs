//! The pictures in the documentation: some minutes of a fleet's life, drawn by `deploy/monitoring/render.py`.

use crate::faults;
use crate::harness::{Bed, Case, seconds};
use crate::prometheus::{JOB, Prometheus, now, programs};
use crate::shipped::path;
use crate::stage::Stage;

const SYNCS: usize = 240;

#[tokio::test]
#[ignore = "draws docs/images anew: deploy/monitoring/render.sh"]
async fn screens() {
    let python = std::env::var_os("OBSERVE_RENDER").expect("run deploy/monitoring/render.sh");
    let Some(programs) = programs("screens") else { return };
    let Some(bed) = Bed::own("screens").await else { return };
    let case = Case::on(&bed, "screens").await.expecting_refusals();
    let prometheus = Prometheus::start(&programs, bed.cluster().dir()).await;
    let mut stage = Stage::set(&bed, case, prometheus).await;
    stage.start("replica-1", &[]).await;
    stage.until_whole().await;
    let begun = now();
    stage.syncs(SYNCS).await;
    for name in ["replica-2", "replica-3"] {
        tokio::time::sleep(seconds(10)).await;
        stage.start(name, &[]).await;
    }
    changes(&stage, 20, 1000).await;
    stage.replicas.remove("replica-2").unwrap().kill();
    changes(&stage, 25, 1000).await;
    stage.start("replica-2", &[]).await;
    changes(&stage, 25, 1000).await;
    let list = faults::writes_are_turned_away();
    stage.apply(&list).await;
    changes(&stage, 6, 1500).await;
    stage.delete(&list).await;
    changes(&stage, 25, 1000).await;
    tokio::time::sleep(seconds(15)).await;
    changes(&stage, 20, 800).await;
    let ended = now();
    let output = std::process::Command::new(python)
        .arg(path("deploy/monitoring/render.py"))
        .args(["--prometheus", &stage.prometheus.url(), "--job", JOB])
        .args(["--from", &begun.to_string(), "--to", &ended.to_string(), "--out"])
        .arg(path("docs/images"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// So many changes of the source, so many milliseconds apart.
async fn changes(stage: &Stage<'_>, count: u32, apart: u64) {
    for _ in 0..count {
        stage.change().await;
        tokio::time::sleep(std::time::Duration::from_millis(apart)).await;
    }
}
