//! Reaching the data: the server at `--url`, the one of the data directory through its socket, or the data itself.

use std::path::Path;

use habeas_client::Client;
use habeas_core::Ambient;

use super::Reach;
use crate::server::Server;

/// A way to the data that is open for one command.
pub(crate) struct Connection {
    pub(crate) client: Client,
    server: Option<Server>,
}

impl Connection {
    pub(crate) async fn open(reach: Reach, file: Option<&Path>) -> anyhow::Result<Connection> {
        if let Some(url) = &reach.url {
            let token = super::login::token(url).await?;
            return Ok(Connection { client: Client::new(url, token)?, server: None });
        }
        let settings = reach.settings.with_file(file)?;
        let socket = settings.data().join("habeas.sock");
        if socket.exists() {
            let client = Client::over_socket(&socket)?;
            if client.is_alive().await {
                return Ok(Connection { client, server: None });
            }
        }
        // No server runs: take its place for this one command. What it logs is not what was asked for.
        let mut quiet = settings.clone();
        quiet.log.get_or_insert_with(|| "warn".to_owned());
        let server = Server::open(&quiet, Ambient::system()).await?;
        Ok(Connection { client: Client::over_socket(&socket)?, server: Some(server) })
    }

    /// Ends it; when this command had opened the data itself, in order.
    pub(crate) async fn close(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// Runs `work` with a connection and closes it whatever comes of it.
pub(crate) async fn with<T>(
    reach: Reach,
    file: Option<&Path>,
    work: impl AsyncFnOnce(&Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let connection = Connection::open(reach, file).await?;
    let result = work(&connection.client).await;
    connection.close().await;
    result
}
