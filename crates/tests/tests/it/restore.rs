//! Backups and items: what was deleted after a backup does not come back with it.

use serde_json::json;

use crate::deployment::{Deployment, engines, image};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_deleted_after_a_backup_stays_deleted_and_a_resealed_project_is_told() {
    let _lock = crate::canary::protected().await;
    for database in engines() {
        let mut deployment = Deployment::open(database).await;
        let someone = deployment.person("a@example.org", "A").await;
        let project = deployment.project(&someone, "p").await;
        let tag = deployment.tag(&someone, &project, "t").await;
        let gone = deployment.image(&someone, &project, "a.jpg", &image(1), &[&tag]).await;
        let kept = deployment.image(&someone, &project, "b.jpg", &image(2), &[&tag]).await;
        let backup = deployment.path("backup");
        let body = json!({ "destination": backup.to_str().unwrap() });
        assert_eq!(deployment.operator("POST", "/backups", body).await.0, 201);
        habeas_store::verify_backup(&backup).unwrap();
        let path = format!("/projects/{project}/images?imageIds={gone}");
        assert_eq!(deployment.train("DELETE", &someone.key, &path, None).await.0, 204);
        let project_id: habeas_core::Id = project.parse().unwrap();
        let base = deployment.folder.path().to_owned();
        let restore = |name: &str| {
            let mut options = habeas_store::Options::embedded(base.join(name));
            options.keyring = Some(base.join("data/keyring"));
            options.root_key = Some(habeas_store::RootKeySource::File(base.join("data/root.key")));
            options
        };
        let (first, second) = (restore("first"), restore("second"));
        deployment.stop().await;
        let report = habeas_store::Store::restore(first.clone(), &backup, habeas_core::Ambient::system())
            .await
            .unwrap();
        assert_eq!((report.erased, report.unreadable), (1, 0), "{report:?}");
        deployment.start().await;
        let store = deployment.server().app().store().clone();
        // One server at a time has a keyring, whatever its data directory.
        assert!(habeas_store::Store::open(first, habeas_core::Ambient::system()).await.is_err());
        // A new key for the project: everything in it is found as before.
        store.reseal(project_id).await.unwrap();
        let (_, images) =
            deployment.train("GET", &someone.key, &format!("/projects/{project}/images/tagged"), None).await;
        assert_eq!(images[0]["id"], kept.as_str());
        assert_eq!(
            deployment.train("POST", &someone.key, &format!("/projects/{project}/tags?name=t"), None).await.1
                ["code"],
            "BadRequestTagNameNotUnique"
        );
        assert_eq!(store.readable_in(&backup).await.unwrap().2, 1);
        drop(store);
        deployment.stop().await;
        let report =
            habeas_store::Store::restore(second, &backup, habeas_core::Ambient::system()).await.unwrap();
        assert!(report.unreadable >= 3, "{report:?}");
        // A backup that was changed is refused, and so is one without its keyring.
        let rows = backup.join("rows-resource.jsonl");
        let mut bytes = std::fs::read(&rows).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&rows, bytes).unwrap();
        let options = restore("third");
        assert!(
            habeas_store::Store::restore(options, &backup, habeas_core::Ambient::system()).await.is_err()
        );
    }
}
