//! PostgreSQL over TLS: with an authority that is trusted, one that is not, and without TLS at all.

use std::process::{Command, Stdio};

use crate::deployment::{Deployment, image};
use crate::postgres;

/// A process of its own, since the authority is named by a variable: opens the database, works in it, and says how that went.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(database) = std::env::var("HABEAS_TEST_TLS_DATABASE") else { return };
    match Deployment::open_with(|settings| settings.database = Some(database)).await {
        Ok(mut deployment) => {
            let someone = deployment.person("a@example.org", "A").await;
            let project = deployment.project(&someone, "p").await;
            deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
            let report = deployment.erase(&someone).await;
            deployment.stop().await;
            println!("<{}>", report["status"].as_str().unwrap());
        }
        Err(error) => println!("<{error}>"),
    }
}

/// What a process says that opens the database at `address` and trusts the authority in this file.
fn open(address: &str, authority: Option<&std::path::Path>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "postgres_tls::child", "--nocapture", "--test-threads=1"])
        .env("HABEAS_TEST_TLS_DATABASE", address)
        .env_remove("PGSSLROOTCERT")
        .stderr(Stdio::null());
    if let Some(authority) = authority {
        command.env("PGSSLROOTCERT", authority);
    }
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    output.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0.to_owned()
}

#[test]
fn only_a_trusted_server_is_spoken_to_and_only_over_tls() {
    let Some((address, authority)) = postgres::over_tls() else { return };
    // The server takes no connection without TLS, so whatever works was sealed.
    assert_eq!(open(&format!("{address}?sslmode=require"), Some(&authority)), "completed");
    let other = tempfile::NamedTempFile::new().unwrap();
    let params = rcgen::CertificateParams::default();
    let stranger = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    std::fs::write(other.path(), stranger).unwrap();
    for authority in [None, Some(other.path())] {
        let said = open(&format!("{address}?sslmode=require"), authority);
        assert!(said.contains("PGSSLROOTCERT"), "{said}");
    }
    // A name that is not in the certificate.
    let said =
        open(&format!("{}?sslmode=require", address.replace("localhost", "127.0.0.1")), Some(&authority));
    assert!(said.contains("certificate"), "{said}");
    let said = open(&format!("{address}?sslmode=disable"), Some(&authority));
    assert!(said.contains("PostgreSQL") && said.contains("sslmode"), "{said}");
}
