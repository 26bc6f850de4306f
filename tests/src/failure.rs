//! Why a scenario did not hold.

use std::error::Error;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks of [`eventually`].
const POLL: Duration = Duration::from_millis(50);

/// Why a scenario did not hold.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The lab could not do what it was asked, or what was awaited did not come.
    #[error(transparent)]
    Lab(#[from] ::lab::error::Error),
    /// What the scenario claims is not so.
    #[error("it is not so that {0}")]
    Untrue(String),
    /// The machine lacks something without which the scenario means nothing.
    #[error("cannot run here: {0}")]
    CannotRun(&'static str),
    /// A socket of the scenario's own failed.
    #[error("{doing}: {source}")]
    Socket {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused what a scenario wanted of it.
    #[error("{doing}: {source}")]
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A request to the API server failed.
    #[error("the API server does not do what it is asked: {0}")]
    Request(#[source] Box<dyn Error + Send + Sync>),
    /// `kubectl` printed JSON that is not the object it was asked for.
    #[error("kubectl get {what}: {source}")]
    Object {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Failure {
    /// For `map_err` of requests to the API server.
    pub fn request(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Request(Box::new(source))
    }

    /// For `map_err` of what is wanted of the kernel.
    pub fn kernel<E: Into<Box<dyn Error + Send + Sync>>>(
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Kernel {
            doing,
            source: source.into(),
        }
    }

    /// For `map_err` of socket operations.
    pub fn socket(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Socket { doing, source }
    }
}

/// Makes sure that `holds`; `sentence` says what should be, with what was found instead.
///
/// # Errors
/// [`Failure::Untrue`] with the sentence.
pub fn claim(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::Untrue(sentence()))
    }
}

/// Looks again until what `look` claims is so, at least once.
///
/// # Errors
/// What is not so when `patience` is over; any other failure at once.
pub fn eventually<T>(
    patience: Duration,
    mut look: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        match look() {
            Err(Failure::Untrue(_)) if start.elapsed() < patience => thread::sleep(POLL),
            result => return result,
        }
    }
}

/// Tells a person who watches what was measured.
#[expect(clippy::print_stdout, reason = "a person reads what it takes today")]
pub fn tell(figures: &str) {
    print!("[{figures}] ");
}
