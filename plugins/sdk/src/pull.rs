//! A source made of a function that is asked for the next piece.

use std::time::{Duration, Instant};

use crate::error::PluginError;
use crate::feed::{BatchOptions, Batching, Piece};
use crate::source::{More, SourceOut};

/// First pause after nothing came; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Longest pause: the bound on noticing that the source is to end.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// What the function of a [`PullSource`] answers.
#[derive(Debug, Clone)]
pub enum Pulled {
    /// The next piece.
    Piece(Piece),
    /// There is nothing for now: asked again after a short pause.
    Nothing,
    /// The feed has ended for good.
    End,
}

/// Makes batches of what a function returns. The function must not block: what waits for a network
/// belongs on a thread of its own, with a [`crate::PushSource`].
///
/// ```
/// use std::time::Instant;
///
/// use model::{BucketKey, Column, ColumnBatch, ColumnDef, ColumnType, RowKind, Schema};
/// use plugin_sdk::{
///     Init, Manifest, More, Piece, Plugin, PluginError, PullSource, Pulled, Source, SourceOut,
/// };
///
/// /// Brings the numbers up to `upto` as ticks.
/// struct Count {
///     upto: i64,
///     pull: Option<PullSource<Box<dyn FnMut() -> Result<Pulled, PluginError> + Send>>>,
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Config { upto: i64 }
///
/// impl Plugin for Count {
///     type Config = Config;
///     const MANIFEST: Manifest = Manifest::new("count", "1.0.0");
///     fn new(config: Config, _init: &mut Init<'_>) -> Result<Self, PluginError> {
///         Ok(Self { upto: config.upto, pull: None })
///     }
/// }
///
/// impl Source for Count {
///     fn open(&mut self, params: &str, resume: Option<&[u8]>) -> Result<(), PluginError> {
///         let key = BucketKey::parse(params).map_err(|error| error.to_string())?;
///         let resume = resume.and_then(|token| <[u8; 8]>::try_from(token).ok());
///         let (mut next, upto) = (resume.map_or(0, i64::from_le_bytes), self.upto);
///         self.pull = Some(PullSource::new(Box::new(move || {
///             if next == upto {
///                 return Ok(Pulled::End);
///             }
///             let rows = tick(next)?;
///             next += 1;
///             let piece = Piece::new(key.clone(), RowKind::Tick, rows);
///             Ok(Pulled::Piece(piece.resume(next.to_le_bytes())))
///         })));
///         Ok(())
///     }
///
///     fn next_batch(
///         &mut self,
///         out: &mut SourceOut<'_>,
///         deadline: Instant,
///     ) -> Result<More, PluginError> {
///         let pull = self.pull.as_mut().ok_or("not open")?;
///         pull.next_batch(out, deadline)
///     }
/// }
///
/// fn tick(time: i64) -> Result<ColumnBatch, PluginError> {
///     let schema = Schema::new(vec![ColumnDef::new("Price", ColumnType::F64)]);
///     let schema = schema.map_err(|error| error.to_string())?;
///     let prices = vec![Column::from_values(vec![time as f64])];
///     ColumnBatch::new(schema, Column::from_values(vec![time]), prices)
///         .map_err(|error| error.to_string().into())
/// }
/// ```
pub struct PullSource<F> {
    pull: F,
    options: BatchOptions,
    has_ended: bool,
}

impl<F: FnMut() -> Result<Pulled, PluginError>> PullSource<F> {
    /// With the default [`BatchOptions`].
    pub fn new(pull: F) -> Self {
        Self::with_options(pull, BatchOptions::default())
    }

    /// With limits of one's own.
    pub fn with_options(pull: F, options: BatchOptions) -> Self {
        Self {
            pull,
            options,
            has_ended: false,
        }
    }

    /// What [`crate::Source::next_batch`] is to do.
    ///
    /// # Errors
    /// Those of the function; a piece that is too large, or that the host refuses.
    pub fn next_batch(
        &mut self,
        out: &mut SourceOut<'_>,
        deadline: Instant,
    ) -> Result<More, PluginError> {
        let mut batch = Batching::new(self.options, out, deadline);
        let mut pause = PAUSE_MIN;
        while !self.has_ended {
            if batch.is_full() {
                return Ok(More::Full);
            }
            match (self.pull)()? {
                Pulled::Piece(piece) => {
                    batch.add(piece)?;
                    pause = PAUSE_MIN;
                }
                Pulled::Nothing if batch.left().is_zero() || batch.is_cancelled() => {
                    return Ok(More::Timeout);
                }
                Pulled::Nothing => {
                    std::thread::sleep(pause.min(batch.left()));
                    pause = (2 * pause).min(PAUSE_MAX);
                }
                Pulled::End => self.has_ended = true,
            }
        }
        Ok(More::End)
    }
}

impl<F> std::fmt::Debug for PullSource<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PullSource({:?})", self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::fake::{Host, late, piece};
    use crate::{Code, SourceOut};

    fn numbers(upto: i64) -> impl FnMut() -> Result<Pulled, PluginError> {
        let mut next = 0;
        move || {
            next += 1;
            if next > upto {
                return Ok(Pulled::End);
            }
            Ok(Pulled::Piece(piece(&[next])))
        }
    }

    #[test]
    fn batches_are_cut_by_pieces_and_by_the_hosts_room() {
        let options = BatchOptions {
            pieces: 3,
            ..BatchOptions::default()
        };
        let mut source = PullSource::with_options(numbers(8), options);
        let mut host = Host::new();
        let mut next = |host: &mut Host| source.next_batch(&mut SourceOut::new(host), late());
        assert_eq!(next(&mut host).unwrap(), More::Full);
        assert_eq!(host.times, [1, 2, 3]);
        assert_eq!(host.token.as_deref(), Some(&3_i64.to_le_bytes()[..]));
        host.rows_max = 5;
        assert_eq!(next(&mut host).unwrap(), More::Full);
        assert_eq!(host.times, [1, 2, 3, 4, 5]);
        host.rows_max = 100;
        assert_eq!(next(&mut host).unwrap(), More::Full);
        assert_eq!(next(&mut host).unwrap(), More::End);
        assert_eq!(host.times.len(), 8);
        // The function is not called behind its end.
        assert_eq!(next(&mut host).unwrap(), More::End);
    }

    #[test]
    fn nothing_is_asked_for_again_until_the_batch_has_waited_long_enough() {
        let mut calls = 0;
        let options = BatchOptions {
            linger: Duration::from_millis(5),
            ..BatchOptions::default()
        };
        let mut source = PullSource::with_options(
            || {
                calls += 1;
                Ok(match calls {
                    1 | 4 => Pulled::Piece(piece(&[calls])),
                    _ => Pulled::Nothing,
                })
            },
            options,
        );
        let mut host = Host::new();
        // The piece starts the time that the batch lingers; the host's deadline is far.
        let more = source.next_batch(&mut SourceOut::new(&mut host), late());
        assert_eq!(more.unwrap(), More::Timeout);
        assert_eq!(host.times[0], 1);
        // An empty batch waits for the host's deadline only.
        let past = Instant::now();
        let more = source.next_batch(&mut SourceOut::new(&mut host), past);
        assert_eq!(more.unwrap(), More::Timeout);
        host.is_cancelled = true;
        let more = source.next_batch(&mut SourceOut::new(&mut host), late());
        assert_eq!(more.unwrap(), More::Timeout);
    }

    #[test]
    fn errors_and_pieces_that_are_too_large_end_the_batch() {
        let mut host = Host::new();
        let mut source = PullSource::new(|| Err("lost".into()));
        let error = source.next_batch(&mut SourceOut::new(&mut host), late());
        assert_eq!(error.unwrap_err().text, "lost");
        let options = BatchOptions {
            piece_bytes: 30,
            ..BatchOptions::default()
        };
        let pull = || Ok(Pulled::Piece(piece(&[1, 2])));
        let mut source = PullSource::with_options(pull, options);
        let error = source.next_batch(&mut SourceOut::new(&mut host), late());
        let error = error.unwrap_err();
        assert_eq!(error.code, Code::Limit);
        assert_eq!(
            error.text,
            "LIMIT: a piece of 32 bytes for A/1Min/T (at most 30); hand it over in smaller ones"
        );
    }
}
