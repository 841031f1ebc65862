//! Pages that a replica serves: its probes and its metrics.

use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer takes milliseconds; a process that was stopped gives none.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The answer to `GET path` on a port of this machine: status and body.
pub(super) async fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        // HTTP/1.0, so that the body comes in one piece and ends with the connection.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await.context("no answer in time")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status in the answer")?;
    Ok((status, body.to_owned()))
}

/// A page of metrics in Prometheus' text format.
#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: Vec<(String, f64)>,
}

impl Page {
    /// Reads what a replica serves; lines that are none are left out.
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self { samples: text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect() }
    }

    /// The sum of a metric over all series that have each of these labels, written as `name="value"`.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let of_metric = |series: &str| {
            let (name, rest) = series.split_once('{').unwrap_or((series, ""));
            name == metric && labels.iter().all(|label| rest.contains(label))
        };
        self.samples.iter().filter(|(series, _)| of_metric(series)).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_summed_by_label() {
        let page = Page::parse(
            "# HELP writes x\nwrites{verb=\"create\",result=\"ok\"} 3\nwrites{verb=\"update\",result=\"ok\"} 4\n\
             writes_more 100\nshards 22\nunheld NaN\n",
        );
        assert_eq!(page.sum("writes", &[]), 7.0);
        assert_eq!(page.sum("writes", &["verb=\"update\""]), 4.0);
        assert_eq!(page.sum("shards", &[]), 22.0);
        assert_eq!(page.sum("absent", &[]), 0.0);
    }
}
