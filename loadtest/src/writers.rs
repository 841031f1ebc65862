//! Many requests at once, a fixed number in flight.

use std::future::Future;

use futures::StreamExt as _;
use futures::stream;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::{Client, Config};

/// As many as the bare writers of the measurements have in flight.
pub const IN_FLIGHT: usize = 32;

/// The client of demo and load test. It sends each request once, like the operator's, and is named in the audit log.
///
/// # Errors
/// When the configuration cannot be turned into a client.
pub fn client(mut config: Config) -> anyhow::Result<Client> {
    config.default_retry = false;
    // Watches may be silent for long; every wait has a deadline of its own.
    config.read_timeout = None;
    let name = concat!("configmapsync-loadtest/", env!("CARGO_PKG_VERSION"));
    config.headers.retain(|(header, _)| header != USER_AGENT);
    config.headers.push((USER_AGENT, HeaderValue::from_static(name)));
    Ok(Client::try_from(config)?)
}

/// Does `work` for each item, [`IN_FLIGHT`] at a time, and returns the answers in the order of the items. `done` hears how
/// many there are so far.
///
/// # Errors
/// The first one; what is in flight then is given up.
pub async fn each<T, R, F>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
    mut done: impl FnMut(usize),
) -> anyhow::Result<Vec<R>>
where
    F: Future<Output = anyhow::Result<R>>,
{
    let numbered = items.into_iter().enumerate().map(|(number, item)| {
        let answer = work(item);
        async move { anyhow::Ok((number, answer.await?)) }
    });
    let mut answers = Vec::new();
    let mut working = stream::iter(numbered).buffer_unordered(IN_FLIGHT);
    while let Some(answer) = working.next().await {
        answers.push(answer?);
        done(answers.len());
    }
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_items() {
        let work = |n: u64| async move {
            tokio::time::sleep(Duration::from_millis(100 - n)).await;
            Ok(n)
        };
        let mut told = Vec::new();
        let answers = each(0..100, work, |done| told.push(done)).await.unwrap();
        assert_eq!(answers, (0..100).collect::<Vec<_>>());
        assert_eq!(told, (1..=100).collect::<Vec<_>>());
    }
}
