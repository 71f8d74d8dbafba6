//! What a start, and a server that runs, say when something around them is not as it should be.

use serde_json::json;

use crate::deployment::{Deployment, engines, image};
use crate::postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    for database in engines() {
        let first = Deployment::open(database.clone()).await;
        let data = first.path("data");
        let said = Deployment::open_with(|settings| {
            // On PostgreSQL the database is the same, the folder another.
            settings.data = if database.is_some() { settings.data.take() } else { Some(data) };
            settings.database = database;
        })
        .await
        .err()
        .unwrap();
        assert!(said.contains("another habeas process"), "{said}");
        first.person("a@example.org", "A").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_named_with_what_to_do() {
    // Not even the superuser can make a folder there.
    let said =
        Deployment::open_with(|settings| settings.data = Some("/sys/habeas".into())).await.err().unwrap();
    assert!(said.contains("/sys/habeas") && said.contains('('), "{said}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let said = Deployment::open_with(|settings| settings.data = Some(path)).await.err().unwrap();
    assert!(said.contains(file.path().to_str().unwrap()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let Some(database) = postgres::database() else { return };
    let mut deployment = Deployment::open(Some(database.clone())).await;
    deployment.person("a@example.org", "A").await;
    deployment.stop().await;
    postgres::execute(&database, "INSERT INTO schema_version VALUES (1000, 0)");
    let said = deployment.try_start().await.unwrap_err();
    assert!(said.contains("1000") && said.contains("newer habeas"), "{said}");
    postgres::execute(&database, "DELETE FROM schema_version WHERE version = 1000");
    deployment.start().await;
    assert_eq!(deployment.operator("GET", "/persons?email=a@example.org", json!(null)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_told_and_found_again() {
    let Some(database) = postgres::database() else { return };
    let deployment = Deployment::open(Some(database.clone())).await;
    let someone = deployment.person("a@example.org", "A").await;
    let project = deployment.project(&someone, "p").await;
    deployment.image(&someone, &project, "a.jpg", &image(1), &[]).await;
    let name = postgres::name(&database);
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");

    // Cut while the server is there: nobody notices more than a moment.
    postgres::administer(&cut);
    let count = format!("/projects/{project}/images/count");
    while deployment.train("GET", &someone.key, &count, None).await.0 != 200 {}
    deployment.image(&someone, &project, "b.jpg", &image(2), &[]).await;

    // Gone: every answer says so, and nothing half is left.
    postgres::administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    postgres::administer(&cut);
    for _ in 0..3 {
        let (status, answer) = deployment.train("GET", &someone.key, &count, None).await;
        assert_eq!(status, 503, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("database"), "{answer}");
        let body = json!({ "email": "b@example.org", "name": "B" });
        let (status, answer) = deployment.operator("POST", "/persons", body).await;
        assert_eq!(status, 503, "{answer}");
    }
    postgres::administer(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    while deployment.train("GET", &someone.key, &count, None).await.0 != 200 {}
    assert_eq!(deployment.train("GET", &someone.key, &count, None).await.1, json!(2));
    deployment.person("b@example.org", "B").await;
    assert_eq!(deployment.erase(&someone).await["status"], "completed");
}
