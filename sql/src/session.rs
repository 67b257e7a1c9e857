//! `Sql`: threads, memory and limits; a statement from its text to its rows.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use engine::Engine;
use model::Zone;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock::Clock;
use crate::pauses::{Ended, watched};
use crate::plan::{self, Planned};
use crate::rows::{Deadline, given_up, plain};
use crate::shared::Shared;
use crate::{Caller, Error, ErrorKind, Rows, Surroundings};

/// Limits and threads.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that plan and run statements.
    pub threads: usize,
    /// Memory of all statements together.
    pub memory_bytes: usize,
    /// Time that a statement may take, its reader included.
    pub time: Duration,
    /// Length of a statement.
    pub statement_bytes: usize,
    /// Statements at once.
    pub statements: usize,
    /// Buckets that a pattern may match.
    pub buckets: usize,
    /// Zone of times that name none.
    pub zone: Zone,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads,
            memory_bytes: 1 << 30,
            time: Duration::from_secs(60),
            statement_bytes: 1 << 20,
            statements: 64,
            buckets: 100_000,
            zone: Zone::utc(),
        }
    }
}

/// Stack of a thread: parsing and planning recurse, see `limits.rs`. Only what is used is real memory.
const STACK_BYTES: usize = 32 << 20;

/// Largest users of memory named when it runs out.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN;

/// SQL over one store. Cheap to clone; the last one ends the threads.
#[derive(Clone)]
pub struct Sql(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    pub(crate) options: Options,
    pub(crate) environment: Arc<RuntimeEnv>,
    /// What sessions of all statements have in common.
    pub(crate) base: SessionState,
    /// The same for statements in the zone of the options that bring nothing of their own.
    pub(crate) usual: SessionState,
    permits: Arc<Semaphore>,
    /// `None` only while it is dropped.
    threads: Option<Runtime>,
    /// Deadlines: threads that compute look at no clock.
    pub(crate) clock: Clock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last handle may go within a thread of another runtime, which must not wait.
        if let Some(runtime) = self.threads.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Sql {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(
        engine: Engine,
        surroundings: Arc<dyn Surroundings>,
        options: Options,
    ) -> Result<Self, Error> {
        let no_threads = |error| Error::failed(format!("no threads for SQL: {error}"));
        let threads = Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("mkts-sql")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()
            .map_err(no_threads)?;
        let clock = Clock::start().map_err(no_threads)?;
        let environment = environment(options.memory_bytes)?;
        let base = plan::base(environment.clone(), options.threads.max(1))?;
        Ok(Self(Arc::new(Inner {
            engine,
            surroundings,
            usual: plan::usual(&base, &options.zone),
            base,
            environment,
            permits: Arc::new(Semaphore::new(options.statements.max(1))),
            options,
            threads: Some(threads),
            clock,
        })))
    }

    /// Plans a statement; `$1..` are parameters. Nothing is read or written yet.
    ///
    /// # Errors
    /// If the text is no statement, names what is not there, or the caller may not.
    pub async fn prepare(&self, text: &str, caller: &Caller) -> Result<Statement, Error> {
        let permit = self.permit()?;
        let deadline = self.deadline();
        self.plan(text, caller, deadline, permit).await
    }

    /// Plans and starts a statement.
    ///
    /// # Errors
    /// As [`Sql::prepare`] and [`Statement::execute`].
    pub async fn run(&self, text: &str, caller: &Caller) -> Result<Rows, Error> {
        let permit = self.permit()?;
        let deadline = self.deadline();
        let planned = self.plan(text, caller, deadline.clone(), permit.clone());
        let statement = planned.await?;
        statement.start(Vec::new(), deadline, permit).await
    }

    /// Memory that statements hold now.
    pub fn memory_used(&self) -> usize {
        self.0.environment.memory_pool.reserved()
    }

    /// Statements that run now.
    pub fn running(&self) -> usize {
        self.0.options.statements.max(1) - self.0.permits.available_permits()
    }

    async fn plan(
        &self,
        text: &str,
        caller: &Caller,
        deadline: Deadline,
        permit: Permit,
    ) -> Result<Statement, Error> {
        let limit = self.0.options.statement_bytes;
        if text.len() > limit {
            return Err(Error::limit(format!(
                "the statement has {} bytes, over the limit of {limit} (sql.statement_bytes)",
                text.len()
            )));
        }
        let shared = Arc::new(self.shared(caller));
        let (inner, text) = (self.0.clone(), text.to_owned());
        let planned = self.on_threads(deadline, async move {
            // Planning may outlast its deadline: it counts until it ends.
            let _permit = permit;
            plan::plan(&inner, &text, shared).await
        });
        let planned = planned.await?;
        Ok(Statement {
            sql: self.clone(),
            planned,
        })
    }

    fn shared(&self, caller: &Caller) -> Shared {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Shared {
            engine: self.0.engine.clone(),
            zone: caller
                .zone
                .clone()
                .unwrap_or_else(|| self.0.options.zone.clone()),
            caller: caller.clone(),
            now: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            buckets_max: self.0.options.buckets,
            snapshot: OnceLock::new(),
        }
    }

    fn permit(&self) -> Result<Permit, Error> {
        let permit = self.0.permits.clone().try_acquire_owned().map(Arc::new);
        permit.map_err(|_| {
            Error::new(
                ErrorKind::Busy,
                format!(
                    "{} statements are running, the most there may be at once (sql.statements)",
                    self.0.options.statements.max(1)
                ),
            )
            .with_hint("try again later")
        })
    }

    fn deadline(&self) -> Deadline {
        let time = self.0.options.time;
        Deadline {
            at: Instant::now() + time,
            seconds: time.as_secs_f64(),
            ended: Ended::default(),
        }
    }

    /// Runs on the threads of SQL, whatever thread waits for it.
    async fn on_threads<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let mut task = AbortOnDrop {
            task: self.0.handle().spawn(work),
            ended: Some(deadline.ended.clone()),
        };
        let (ring, late) = oneshot::channel();
        let _alarm = self.0.clock.at(deadline.at, move || {
            // Nobody may listen any more.
            let _ = ring.send(());
        });
        tokio::select! {
            biased;
            done = &mut task.task => {
                // What runs on may be only begun.
                task.ended = None;
                done.unwrap_or_else(|error| {
                    tracing::error!(%error, "a statement panicked");
                    Err(given_up())
                })
            }
            Ok(()) = late => Err(deadline.limit()),
        }
    }
}

struct AbortOnDrop<T> {
    task: tokio::task::JoinHandle<T>,
    ended: Option<Ended>,
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            ended.set();
        }
        self.task.abort();
    }
}

impl Inner {
    pub(crate) fn handle(&self) -> &tokio::runtime::Handle {
        let threads = self.threads.as_ref();
        threads
            .expect("the threads end with the last handle")
            .handle()
    }
}

pub(crate) type Permit = Arc<OwnedSemaphorePermit>;

/// No files: what does not fit into memory is an error.
fn environment(memory_bytes: usize) -> Result<Arc<RuntimeEnv>, Error> {
    use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
    let pool = TrackConsumersPool::new(GreedyMemoryPool::new(memory_bytes), CONSUMERS_NAMED);
    let pool: Arc<dyn MemoryPool> = Arc::new(pool);
    let no_files = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let environment = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(no_files)
        .build_arc()?;
    Ok(environment)
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Gives rows.
    Rows,
    /// Writes rows, and gives one with their number.
    Insert,
    /// Deletes rows, and gives one with their number.
    Delete,
    /// Sets something for the session; see [`Statement::setting`].
    Set,
}

/// A planned statement. It may be executed once or often; each time it reads the LSN of its planning.
#[derive(Clone)]
pub struct Statement {
    sql: Sql,
    planned: Planned,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement")
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

impl Statement {
    /// The columns of its rows.
    pub fn schema(&self) -> SchemaRef {
        match &self.planned {
            Planned::Query { plan, .. } => plain(plan.schema().as_arrow()),
            Planned::Ready { schema, .. } => schema.clone(),
            Planned::Change(change) => change.schema(),
        }
    }

    /// The types of `$1..`; `None` where any will do.
    pub fn parameters(&self) -> Vec<Option<DataType>> {
        match &self.planned {
            Planned::Query {
                plan, placeholders, ..
            } => parameters(plan, *placeholders),
            Planned::Ready { .. } => Vec::new(),
            Planned::Change(change) => change.parameters(),
        }
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        match &self.planned {
            Planned::Query { .. } => Kind::Rows,
            Planned::Ready {
                setting: Some(_), ..
            } => Kind::Set,
            Planned::Ready { .. } => Kind::Rows,
            Planned::Change(change) => change.kind(),
        }
    }

    /// For [`Kind::Set`]: what is set, in lower case, and to what. Doors that have sessions keep it;
    /// `timezone` goes into [`Caller::zone`].
    pub fn setting(&self) -> Option<(&str, &str)> {
        match &self.planned {
            Planned::Ready {
                setting: Some((name, value)),
                ..
            } => Some((name, value)),
            _ => None,
        }
    }

    /// Runs it with values for `$1..`.
    ///
    /// # Errors
    /// If values are missing or do not fit, or a limit is reached before the first rows.
    pub async fn execute(&self, parameters: Vec<ScalarValue>) -> Result<Rows, Error> {
        let permit = self.sql.permit()?;
        let deadline = self.sql.deadline();
        self.start(parameters, deadline, permit).await
    }

    async fn start(
        &self,
        parameters: Vec<ScalarValue>,
        deadline: Deadline,
        permit: Permit,
    ) -> Result<Rows, Error> {
        match &self.planned {
            Planned::Ready {
                schema, batches, ..
            } => Ok(Rows::ready(schema.clone(), batches.clone())),
            Planned::Query {
                state,
                plan,
                placeholders,
            } => {
                let (state, plan) = (state.clone(), plan.clone());
                let placeholders = *placeholders;
                let inner = self.sql.0.clone();
                let run = deadline.clone();
                let start = async move {
                    let stream = stream(&state, plan, placeholders, parameters, &run.ended).await?;
                    Rows::start(stream, &inner, run, permit).await
                };
                self.sql.on_threads(deadline, start).await
            }
            Planned::Change(change) => {
                let (change, inner) = (change.clone(), self.sql.0.clone());
                let ended = deadline.ended.clone();
                let run = async move {
                    let _permit = permit;
                    change.run(&inner, parameters, &ended).await
                };
                self.sql.on_threads(deadline, run).await
            }
        }
    }
}

/// Starts a plan.
pub(crate) async fn stream(
    state: &SessionState,
    plan: LogicalPlan,
    placeholders: usize,
    values: Vec<ScalarValue>,
    ended: &Ended,
) -> Result<datafusion::physical_plan::SendableRecordBatchStream, Error> {
    let plan = plan::with_values(plan, placeholders, values)?;
    let physical = state.create_physical_plan(&plan).await?;
    let physical = watched(physical, ended)?;
    Ok(execute_stream(physical, task(state))?)
}

/// What a plan runs in. Functions are in the plan itself; copies of their lists would cost more than a
/// small statement.
pub(crate) fn task(state: &SessionState) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        Default::default(),
        Default::default(),
        Default::default(),
        Default::default(),
        state.runtime_env().clone(),
    ))
}

/// The highest number of a parameter that is heeded.
const PARAMETERS_MAX: usize = 10_000;

/// Types by number; numbers that are left out take anything.
pub(crate) fn parameters(plan: &LogicalPlan, placeholders: usize) -> Vec<Option<DataType>> {
    let mut types = vec![None; placeholders.min(PARAMETERS_MAX)];
    for (name, ty) in plan.get_parameter_types().unwrap_or_default() {
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let Some(at) = number
            .and_then(|n| n.checked_sub(1))
            .filter(|at| *at < PARAMETERS_MAX)
        else {
            continue;
        };
        if types.len() <= at {
            types.resize(at + 1, None);
        }
        types[at] = ty;
    }
    types
}
