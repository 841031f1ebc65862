//! The log level of a running pod, changed without a restart.

use std::path::Path;

use testbed::image::Image;

use crate::installed::{Installed, SHIPPED, SYSTEM, say};
use crate::sample;
use crate::wait::eventually;

/// The operator's image has no shell, and nothing that sends a signal: a container that joins the pod has.
const IMAGE: &str = "busybox:1.36";

/// A process takes signals from its own user alone, and no manifest says which that is: it is the image's.
const USER: &str = r#"{"securityContext": {"runAsUser": 65532}}"#;

/// `kubectl debug` as docs/seed.md has it.
async fn usr1(installed: &Installed, pod: &str) {
    let file = installed.cluster.dir().join("user.json");
    std::fs::write(&file, USER).unwrap();
    let command = format!(
        "debug {pod} -n {SYSTEM} --image={IMAGE} --target=manager --profile=restricted --custom=user.json -- kill -USR1 1"
    );
    for told in [format!("`kubectl {}`", command.replace(pod, "POD")), format!("`{USER}`")] {
        assert!(include_str!("../../docs/seed.md").contains(&told), "docs/seed.md tells something else than {told}");
    }
    let command = command.replace("user.json", file.to_str().unwrap());
    installed.kubectl(&command.split(' ').collect::<Vec<_>>()).await;
}

async fn until_said(installed: &Installed, pods: &[&str], words: &str) {
    let look = async || {
        let mut logs = String::new();
        for pod in pods {
            logs.push_str(&installed.kubectl(&["-n", SYSTEM, "logs", pod, "-c", "manager"]).await);
        }
        if logs.contains(words) { Ok(()) } else { Err(logs) }
    };
    eventually(&format!("{pods:?} say {words:?}"), look).await;
}

#[tokio::test]
async fn kubectl_debug_switches_details_of_a_pod_on_and_off() {
    let test = "kubectl_debug_switches_details_of_a_pod_on_and_off";
    let image = match Image::of_program(&format!("docker.io/library/{IMAGE}"), Path::new("/bin/busybox")) {
        Ok(image) => image.with_link("bin/kill"),
        Err(reason) => return say(format_args!("SKIPPED {test}: {reason:#} (Debian package busybox-static)")),
    };
    let Some(installed) = Installed::turn(test).await else { return };
    if !installed.kubectl(&["debug", "--help"]).await.contains("--custom") {
        say(format_args!("SKIPPED {test}: this kubectl has no `debug --custom`, 1.32 has"));
        return installed.end().await;
    }
    installed.pods.until(SHIPPED).await;
    let pods = installed.pods.names();
    let archive = installed.cluster.dir().join("busybox.tar");
    image.write(&archive).unwrap();
    installed.cluster.load_image(&archive).await.unwrap();

    for pod in &pods {
        usr1(&installed, pod).await;
        until_said(&installed, &[pod], "the log level changes; the same signal changes it back").await;
    }
    // Whichever of them holds its shard.
    sample::ready(&installed).await;
    until_said(&installed, &pods.iter().map(String::as_str).collect::<Vec<_>>(), r#""level":"DEBUG""#).await;
    for pod in &pods {
        usr1(&installed, pod).await;
        until_said(&installed, &[pod], "the log level changes back").await;
    }
    sample::deleted(&installed).await;
    assert_eq!(installed.pods.names(), pods, "they are the same pods");
    installed.end().await;
}
