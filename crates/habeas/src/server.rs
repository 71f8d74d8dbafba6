//! The server: everything wired together, from opening the store to the last flush.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use habeas_access::{Access, NewPerson};
use habeas_core::kind::{HolderKind, MentionRole};
use habeas_core::kinds::{AccountType, PREDICTION_DAYS};
use habeas_core::{Ambient, Id};
use habeas_models::{ModelWorker, Models};
use habeas_rights::{Rights, Worker};
use habeas_store::Store;
use habeas_wire::App;
use habeas_wire::custom_vision::limits::Limits;
use habeas_wire::opendsr::ProcessorSource;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::listen::{self, Gate};
use crate::observe::{self, DiskReserve, FLUSH, Metrics};
use crate::settings::Settings;
use crate::{demo, logs, tls};

/// Prints a line to whoever still reads: a server must not end because nobody does.
macro_rules! say {
    ($($part:tt)*) => {{
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, $($part)*).and_then(|()| out.flush());
    }};
}

/// The e-mail address of the administrator that the first start makes.
pub const ADMINISTRATOR: &str = "admin@localhost";
/// Images decoded at a time.
const DECODING: usize = 2;
/// Connections to the operator's socket.
const SOCKET_CONNECTIONS: usize = 64;

/// A server that runs. [`Server::stop`] ends it in order.
pub struct Server {
    app: App,
    router: Router,
    worker: Arc<Worker>,
    model_worker: Arc<ModelWorker>,
    stop: CancellationToken,
    work: JoinSet<()>,
    socket: PathBuf,
    /// The address it listens on, once it does.
    pub address: Option<SocketAddr>,
}

impl Server {
    /// Opens the store and starts the worker and the operator's socket; listens on no address yet.
    pub async fn open(settings: &Settings, ambient: Ambient) -> anyhow::Result<Server> {
        logs::start(settings)?;
        let model_options = settings.model_options()?;
        let store = Store::open(settings.store_options()?, ambient).await.map_err(anyhow::Error::new)?;
        let models = Models::new(store.clone(), model_options)?;
        let public_address: Option<Arc<str>> =
            settings.public_address.as_deref().map(|address| address.trim_end_matches('/').into());
        let access = Access::new(store, settings.issuers()?, public_address.as_deref())?;
        let rights = Rights::new(access, models.clone(), settings.request_options()?);
        let mut limits = Limits::default();
        limits.projects_per_account = settings.projects_per_account.or(limits.projects_per_account);
        limits.images_per_project = settings.images_per_project.or(limits.images_per_project);
        limits.tags_per_project = settings.tags_per_project.or(limits.tags_per_project);
        if let Some(days) = settings.prediction_days {
            // The data map and the answers to access requests say so.
            ensure!(days <= PREDICTION_DAYS, "prediction-days is at most {PREDICTION_DAYS}");
            limits.prediction_days = days;
        }
        models.depicts_key().clone_into(&mut limits.depicts_key);
        if let Some(bytes) = settings.image_bytes {
            limits.image_bytes = bytes;
        }
        let app = App {
            rights: rights.clone(),
            limits: Arc::new(limits),
            public_address,
            blob_host: settings.blob_host()?.map(Into::into),
            blocks: Arc::default(),
            tls: settings.tls(),
            decoding: Arc::new(Semaphore::new(DECODING)),
            processor: Arc::new({
                let settings = settings.clone();
                ProcessorSource::new(move || tls::processor(&settings))
            }),
        };
        let router = router(&app, settings);
        if let Err(error) = rights.remove_partial_archives().await {
            tracing::warn!(
                error = format_args!("{error:#}"),
                "partial archives may be left in the export folder"
            );
        }
        if let Err(error) = rights.settle_requests().await {
            tracing::warn!(
                error = format_args!("{error:#}"),
                "requests of persons who are erased may be open"
            );
        }
        let worker = Arc::new(Worker::new(rights.clone()));
        let stop = CancellationToken::new();
        let mut work = JoinSet::new();
        work.spawn({
            let worker = Arc::clone(&worker);
            async move { worker.run().await }
        });
        let model_worker = Arc::new(ModelWorker::new(models));
        work.spawn({
            let worker = Arc::clone(&model_worker);
            let stop = stop.clone();
            // A training takes minutes: it is left where it is, and resumed at the next start.
            async move {
                tokio::select! {
                    () = worker.run() => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        work.spawn({
            let (app, stop) = (app.clone(), stop.clone());
            // What a far end keeps waiting is tried again at the next start.
            async move {
                tokio::select! {
                    () = habeas_wire::delivery::run(app) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        work.spawn(flush_regularly(rights, stop.clone()));
        let socket = settings.data().join("habeas.sock");
        work.spawn(listen::socket(
            open_socket(&socket)?,
            router.clone(),
            gate(settings, SOCKET_CONNECTIONS, &stop),
        ));
        Ok(Server { app, router, worker, model_worker, stop, work, socket, address: None })
    }

    /// The services.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The routes, for tests that need no network.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Listens on the configured address. Returns the address under which it is reached.
    pub async fn listen(&mut self, settings: &Settings) -> anyhow::Result<String> {
        let tls = settings.tls().then(|| tls::acceptor(settings)).transpose()?;
        let listener = TcpListener::bind(settings.listen())
            .await
            .with_context(|| format!("cannot listen on {}", settings.listen()))?;
        let address = listener.local_addr()?;
        self.address = Some(address);
        let scheme = if tls.is_some() { "https" } else { "http" };
        if let Some(authority) = tls.as_ref().and_then(|tls| tls.authority.as_ref()) {
            print_environment(authority, &format!("{scheme}://{address}"));
        }
        let cap = settings.max_connections.unwrap_or(4_096);
        let acceptor = tls.map(|tls| tls.acceptor);
        self.work.spawn(listen::tcp(
            listener,
            acceptor,
            self.router.clone(),
            gate(settings, cap, &self.stop),
        ));
        Ok(format!("{scheme}://{address}"))
    }

    /// Stops in order: no new connection, requests in hand finish, the task in hand finishes, a training in hand is given back, telemetry
    /// is written.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.worker.stop();
        self.model_worker.stop();
        while self.work.join_next().await.is_some() {}
        if let Err(error) = self.app.store().write(|tx| tx.release_leases().map(|_| ())).await {
            tracing::warn!(error = format_args!("{error:#}"), "tasks in hand were not given back");
        }
        if let Err(error) = self.app.access().telemetry().flush().await {
            tracing::warn!(error = format_args!("{error:#}"), "the last telemetry was not written");
        }
        // A file that is gone already is as good.
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn gate(settings: &Settings, connections: usize, stop: &CancellationToken) -> Gate {
    Gate {
        connections: Arc::new(Semaphore::new(connections)),
        header_timeout: Duration::from_secs(settings.header_timeout_seconds.unwrap_or(60)),
        stop: stop.clone(),
    }
}

fn router(app: &App, settings: &Settings) -> Router {
    let reserve = DiskReserve {
        folder: settings.data().into(),
        bytes: settings.disk_reserve_mb.unwrap_or(256).saturating_mul(1_000_000),
    };
    let metrics = Metrics::new(reserve);
    let thumbnail: habeas_portal::ThumbnailAddress = {
        let app = app.clone();
        Arc::new(move |project, image| habeas_wire::custom_vision::thumbnail_address(&app, project, image))
    };
    let base: habeas_portal::BaseAddress = {
        let app = app.clone();
        Arc::new(move |headers| {
            habeas_wire::caller::base_address(headers, app.public_address.as_deref(), app.tls)
        })
    };
    let protocols = habeas_wire::custom_vision::router(app.clone())
        .merge(habeas_wire::mlflow::router(app.clone()))
        .merge(habeas_wire::arm::router(app.clone()))
        .merge(habeas_wire::artifacts::router(app.clone()))
        .merge(habeas_wire::model_management::router(app.clone()))
        .merge(habeas_wire::discovery::router(app.clone()))
        .merge(habeas_wire::run_history::router(app.clone()))
        .merge(habeas_wire::privacy::router().with_state(app.clone()))
        .merge(habeas_wire::import::router().with_state(app.clone()))
        .merge(habeas_wire::oauth::router().with_state(app.clone()))
        .merge(habeas_wire::opendsr::router().with_state(app.clone()))
        .merge(habeas_wire::graph::router().with_state(app.clone()))
        .merge(habeas_portal::router(app.rights.clone(), settings.tls(), thumbnail, base))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(
            settings.upload_timeout_seconds.unwrap_or(60),
        )));
    let routes = observe::routes(app.clone(), metrics.clone())
        .merge(protocols)
        .layer(axum::middleware::from_fn_with_state((metrics, app.clone()), observe::observe))
        .layer(CatchPanicLayer::new());
    // Paths are brought into one spelling before the router looks at them, so this layer goes around it.
    let spelled = |request| {
        let request = habeas_wire::blob_host::route::<Body>(habeas_wire::custom_vision::normalise(request));
        let request = habeas_wire::run_history::normalise(habeas_wire::scope::normalise(request));
        habeas_wire::model_management::normalise(habeas_wire::artifacts::normalise(request))
    };
    Router::new().fallback_service(MapRequestLayer::new(spelled).layer(routes))
}

async fn flush_regularly(rights: Rights, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FLUSH) => {}
        }
        if let Err(error) = rights.access().telemetry().flush().await {
            tracing::warn!(error = format_args!("{error:#}"), "telemetry was not written");
        }
    }
}

/// The socket is made under a name that nobody connects to, closed to others, and then moved in place.
fn open_socket(path: &std::path::Path) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = path.with_extension("new");
    let _ = std::fs::remove_file(&made);
    let listener = UnixListener::bind(&made).with_context(|| {
        format!(
            "cannot make the socket {} (its path may be too long: choose a shorter --data)",
            path.display()
        )
    })?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&made, path)?;
    Ok(listener)
}

fn print_environment(authority: &std::path::Path, base: &str) {
    let path = std::path::absolute(authority).unwrap_or_else(|_| authority.to_owned());
    let path = path.display();
    say!("development certificate authority: {path}");
    say!("clients trust it with:");
    say!("  export REQUESTS_CA_BUNDLE={path} SSL_CERT_FILE={path} NODE_EXTRA_CA_CERTS={path}");
    say!("azureml-core finds its services with:");
    say!(
        "  export ARM_CLOUD_METADATA_URL={base}/metadata/endpoints AZUREML_CURRENT_CLOUD={}",
        habeas_wire::discovery::CLOUD
    );
}

/// `habeas serve`: runs until SIGTERM or SIGINT.
pub async fn serve(settings: Settings, with_demo: bool) -> anyhow::Result<()> {
    let mut server = Server::open(&settings, Ambient::system()).await?;
    let first_start = server.app.store().read(|tx| tx.count_holders(HolderKind::Person)).await? == 0;
    let access = server.app.access().clone();
    let mut signs_in = None;
    if first_start {
        let new = NewPerson {
            email: ADMINISTRATOR.to_owned(),
            name: "Administrator".to_owned(),
            account_type: AccountType::Standard,
        };
        let administrator = access.create_person(new).await?.id;
        access.set_staff_role(administrator, MentionRole::Administrator, true).await?;
        signs_in = Some(("administrator", administrator));
    }
    let base = server.listen(&settings).await?;
    // From before it says so, since whoever reads that may ask for the end at once.
    let signals = Signals::register()?;
    say!("listening on {base}");
    if with_demo {
        let person = demo::load(&server.router(), &access).await?;
        signs_in = Some(("sample person", person));
    }
    match signs_in {
        Some((who, person)) => print_link(&access, &base, who, person).await?,
        None => say!("sign-in link: habeas person sign-in-link EMAIL"),
    }
    say!("next: habeas person create EMAIL --name NAME    (keys for the Custom Vision client)");
    signals.wait().await;
    eprintln!("stopping");
    server.stop().await;
    Ok(())
}

async fn print_link(access: &Access, base: &str, who: &str, person: Id) -> anyhow::Result<()> {
    let link = access.issue_sign_in_link(person).await?;
    say!("open once, as {who}: {base}/sign-in/{}", link.secret);
    Ok(())
}

/// What asks the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on signals are kept instead of ending the process.
    fn register() -> anyhow::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
