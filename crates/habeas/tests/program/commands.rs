//! The commands of the README, their answers and exit codes.

use crate::program::{Program, image};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_person_is_seen_taken_and_erased_and_the_receipt_verifies_offline() {
    let mut program = Program::new();
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.train("POST", &key, &format!("/projects/{project}/images"), &image(1)).status, 200);

    let shown = json(&program.succeed(&["person", "show", "ada@example.org", "-o", "json"]));
    let images = shown["items"].as_array().unwrap().iter().find(|item| item["kind"] == "Image").unwrap();
    assert_eq!(images["count"], 1);
    let table = program.succeed(&["person", "show", "ada@example.org"]);
    assert!(table.contains("Images") && table.contains(" kB"), "{table}");

    let taken = program.run(&["export", "--person", "ada@example.org", "--output", "ada.zip"]);
    assert_eq!((taken.code, taken.out.as_str()), (0, "ada.zip\n"), "{}", taken.err);
    assert!(std::fs::read(program.path("ada.zip")).unwrap().starts_with(b"PK\x03\x04"));
    let streamed =
        program.command(&["export", "--person", "ada@example.org", "--output", "-"]).output().unwrap();
    assert!(streamed.status.success() && streamed.stdout.starts_with(b"PK\x03\x04"));
    let recipient = "age1zwlyl6h27gzv0lfntr7fcqrjrzqazap8sy5zylkxwneh7llf0dksu37mwt";
    let export =
        ["export", "--person", "ada@example.org", "--output", "ada.zip.age", "--recipient", recipient];
    program.succeed(&export);
    assert!(std::fs::read(program.path("ada.zip.age")).unwrap().starts_with(b"age-encryption.org/v1\n"));

    // A plan that no longer says what would be done, or is confirmed wrongly, is not run.
    let plan = || json(&program.succeed(&["erase", "plan", "--person", "ada@example.org", "-o", "json"]));
    let stale = plan();
    server.train("POST", &key, &format!("/projects/{project}/images"), &image(2));
    let run = |plan: &serde_json::Value, confirm: &str| {
        program.run(&[
            "erase",
            "run",
            plan["plan"].as_str().unwrap(),
            "--confirm",
            confirm,
            "--receipt",
            "r.json",
        ])
    };
    assert_eq!(run(&stale, "ada@example.org").code, 5);
    let plan = plan();
    assert_eq!(run(&plan, "eve@example.org").code, 2);
    let done = run(&plan, "ada@example.org");
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    assert_eq!(program.run(&["person", "show", "ada@example.org"]).code, 3);
    assert_eq!(server.train("GET", &key, "/projects", &[]).status, 401);
    server.stop();

    // Offline: with the right key, with another one, with a changed receipt.
    let command = done.err.lines().find_map(|line| line.strip_prefix("verify it offline: habeas ")).unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    program.succeed(&words);
    let key = words.last().unwrap();
    let other = format!("{}{}", if key.starts_with('0') { '1' } else { '0' }, &key[1..]);
    assert_eq!(program.run(&["receipt", "verify", "r.json", "--key", &other]).code, 6);
    let receipt = std::fs::read_to_string(program.path("r.json")).unwrap();
    std::fs::write(program.path("r.json"), receipt.replace("Article 17", "Article 18")).unwrap();
    assert_eq!(program.run(&words).code, 6);
    program.set("HABEAS_DATA", program.path("nowhere").to_str().unwrap());
    assert_eq!(program.run(&words).code, 6, "verifying needs no data");
    assert!(!program.path("nowhere").exists());
}

#[test]
fn an_archive_is_brought_when_somebody_vouches_for_its_key() {
    let (from, to) = (Program::new(), Program::new());
    let server = from.serve(&[]);
    let key = from.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.train("POST", &key, &format!("/projects/{project}/images"), &image(1)).status, 200);
    from.succeed(&["export", "--person", "ada@example.org", "--output", "ada.zip"]);
    let keys = json(&from.succeed(&["log", "keys", "-o", "json"]));
    let signer = keys[0]["publicKey"].as_str().unwrap();
    let archive = from.path("ada.zip");
    let archive = archive.to_str().unwrap();

    let there = to.serve(&[]);
    let other = format!("{}{}", if signer.starts_with('0') { '1' } else { '0' }, &signer[1..]);
    // The first names the key, for whoever wants to compare it.
    for (arguments, expected) in [
        (&["import", archive][..], signer),
        (&["import", archive, "--key", other.as_str()][..], "another key"),
    ] {
        let refused = to.run(arguments);
        assert_eq!((refused.code, refused.out.as_str()), (6, ""), "{}", refused.err);
        assert!(
            refused.err.starts_with("NOT VERIFIED: ") && refused.err.contains(expected),
            "{}",
            refused.err
        );
        assert_eq!(to.run(&["person", "show", "ada@example.org"]).code, 3, "somebody was made");
    }
    assert_eq!(to.run(&["import", archive, "--key", signer, "--any-key"]).code, 2);
    let tally = |program: &Program, arguments: &[&str]| {
        let report = json(&program.succeed(arguments));
        (report["brought"].as_u64().unwrap(), report["present"].as_u64().unwrap())
    };
    assert_eq!(tally(&to, &["import", archive, "--key", signer, "-o", "json"]), (2, 0));
    assert_eq!(tally(&to, &["import", archive, "--any-key", "-o", "json"]), (0, 2));
    // What a server wrote itself comes back as it went.
    assert_eq!(tally(&from, &["import", archive, "-o", "json"]), (0, 2));
    there.stop();
    server.stop();
}

#[test]
fn a_model_is_verified_from_an_archive() {
    let mut program = Program::new();
    program.set("HABEAS_IMAGES_PER_TAG", "2");
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    program.succeed(&["export", "--person", "ada@example.org", "--output", "empty.zip"]);
    assert_eq!(program.run(&["model", "verify", "empty.zip"]).code, 3);
    assert_eq!(program.run(&["model", "verify", "nowhere.zip"]).code, 1);

    let path = format!("/projects/{project}");
    for (name, photos) in [
        ("Hemlock", ["hemlock_1", "hemlock_2"]),
        ("Japanese_Cherry", ["japanese_cherry_1", "japanese_cherry_2"]),
    ] {
        let tag = server.train("POST", &key, &format!("{path}/tags?name={name}"), &[]).json();
        let tag = tag["id"].as_str().unwrap().to_owned();
        for photo in photos {
            let photo = photo_of(name, photo);
            let uploaded = server.train("POST", &key, &format!("{path}/images?tagIds={tag}"), &photo);
            assert_eq!(uploaded.status, 200);
        }
    }
    let iteration = server.train("POST", &key, &format!("{path}/train"), &[]).json();
    let id = iteration["id"].as_str().unwrap();
    let trained = || server.train("GET", &key, &format!("{path}/iterations/{id}"), &[]).json();
    while trained()["status"] == "Training" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(trained()["status"], "Completed");
    program.succeed(&["export", "--person", "ada@example.org", "--output", "ada.zip"]);
    server.stop();

    let said = program.succeed(&["model", "verify", "ada.zip"]);
    assert!(said.starts_with(&format!("OK  {id}  Iteration 1  4 images  state ")), "{said}");
    let listed = json(&program.succeed(&["model", "verify", "ada.zip", "--iteration", id, "-o", "json"]));
    assert_eq!((&listed[0]["verdict"], &listed[0]["findings"]), (&"verified".into(), &serde_json::json!([])));
    assert_eq!(program.run(&["model", "verify", "ada.zip", "--iteration", &project]).code, 3);
    assert_eq!(program.run(&["model", "verify", "ada.zip", "--iteration", "one"]).code, 2);

    // Unpacked, and with one number of one row changed.
    let folder = program.path("ada");
    zip::ZipArchive::new(std::fs::File::open(program.path("ada.zip")).unwrap())
        .unwrap()
        .extract(&folder)
        .unwrap();
    program.succeed(&["model", "verify", "ada"]);
    let images = folder.join(format!("custom-vision/projects/{project}/images"));
    let row = std::fs::read_dir(images)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with(".phi-v1.bin"))
        .unwrap();
    let mut bytes = std::fs::read(&row).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&row, bytes).unwrap();
    let refused = program.run(&["model", "verify", "ada"]);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(
        refused.out.starts_with("NOT VERIFIED") && refused.out.contains("integer sums"),
        "{}",
        refused.out
    );
}

fn photo_of(folder: &str, name: &str) -> Vec<u8> {
    let images = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../data/custom-vision/CustomVision/ImageClassification/Images"
    );
    std::fs::read(format!("{images}/{folder}/{name}.jpg")).unwrap()
}

#[test]
fn an_organisation_is_handed_over_or_deleted() {
    let program = Program::new();
    let _server = program.serve(&[]);
    program.person("ada@example.org");
    program.person("bob@example.org");
    let made = json(&program.succeed(&[
        "organisation",
        "create",
        "Forest Watch",
        "--owner",
        "ada@example.org",
        "-o",
        "json",
    ]));
    let id = made["objectId"].as_str().unwrap();
    let blocked = program.succeed(&["erase", "plan", "--person", "ada@example.org"]);
    assert!(blocked.contains(&format!("habeas organisation member {id} EMAIL --role owner")), "{blocked}");
    program.succeed(&["organisation", "member", id, "bob@example.org", "--role", "owner"]);
    let members = program.succeed(&["organisation", "members", id]);
    assert_eq!(members.matches("owner").count(), 2, "{members}");
    let keys = program.succeed(&["organisation", "keys", id]);
    let first = made["trainingKeys"][0].as_str().unwrap();
    assert!(keys.contains(first), "{keys}");
    program.succeed(&["organisation", "member", id, "ada@example.org", "--remove"]);
    let keys = program.succeed(&["organisation", "keys", id]);
    assert!(keys.contains("TRAINING KEYS") && !keys.contains(first), "{keys}");
    let plan = json(&program.succeed(&["erase", "plan", "--person", "ada@example.org", "-o", "json"]));
    assert_eq!(plan["blocked"], serde_json::json!([]));
    let plan = json(&program.succeed(&["erase", "plan", "--organisation", id, "-o", "json"]));
    program.succeed(&["erase", "run", plan["plan"].as_str().unwrap(), "--confirm", "Forest Watch"]);
    assert_eq!(program.run(&["organisation", "members", id]).code, 3);
}

#[test]
fn an_owner_who_is_not_of_the_staff_names_others_by_their_ids() {
    let mut program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    program.person("bob@example.org");
    let id_of = |program: &Program, email: &str| {
        let shown = json(&program.succeed(&["person", "show", email, "-o", "json"]));
        shown["person"]["objectId"].as_str().unwrap().to_owned()
    };
    let (ada, bob) = (id_of(&program, "ada@example.org"), id_of(&program, "bob@example.org"));
    let token = program.succeed(&["token", "create", "--person", "ada@example.org"]);
    program.set("HABEAS_TOKEN", token.trim());
    program.set("HABEAS_URL", &format!("http://{}", server.address));
    let made = json(&program.succeed(&["organisation", "create", "Works", "--owner", &ada, "-o", "json"]));
    let works = made["objectId"].as_str().unwrap();
    program.succeed(&["organisation", "member", works, &bob, "--role", "reader"]);
    let members = program.succeed(&["organisation", "members", works]);
    assert!(members.contains(&bob) && members.contains("reader"), "{members}");
    // Addresses are looked up by the staff.
    let by_address = ["organisation", "member", works, "bob@example.org", "--role", "reader"];
    assert_eq!(program.run(&by_address).code, 3);
    let successor = format!("{works}={bob}");
    let plan =
        json(&program.succeed(&["erase", "plan", "--person", "me", "--successor", &successor, "-o", "json"]));
    assert_eq!(
        (&plan["blocked"], &plan["choices"][0]["successor"]),
        (&serde_json::json!([]), &serde_json::json!(bob)),
        "{plan}"
    );
    program.succeed(&["organisation", "member", works, &bob, "--remove"]);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let mut program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    let code = |program: &Program, arguments: &[&str]| program.run(arguments).code;
    assert_eq!(code(&program, &["person", "create", "no address"]), 2);
    assert_eq!(code(&program, &["no-such-command"]), 2);
    assert_eq!(code(&program, &["person", "show", "eve@example.org"]), 3);
    assert_eq!(code(&program, &["person", "create", "ada@example.org"]), 5);
    let remote = format!("http://{}", server.address);
    let elsewhere = ["person", "show", "ada@example.org", "--url", &remote];
    assert_eq!(code(&program, &elsewhere), 4);
    let token = program.succeed(&["token", "create", "--person", "ada@example.org"]);
    program.set("HABEAS_TOKEN", token.trim());
    // Persons are looked up by the staff; oneself by object id.
    assert_eq!(code(&program, &elsewhere), 3);
    assert_eq!(code(&program, &["person", "show", "me", "--url", &remote]), 0);
    assert_eq!(code(&program, &["person", "show", "me", "--url", "http://127.0.0.1:9"]), 1);
}

#[test]
fn settings_come_from_flags_variables_and_a_file_and_unknown_ones_are_refused() {
    let mut program = Program::new();
    let file = program.path("habeas.toml");
    let config = file.to_str().unwrap().to_owned();
    std::fs::write(&file, "header-timeout-second = 5\n").unwrap();
    let refused = program.run(&["--config", &config, "serve"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("did you mean `header-timeout-seconds`?"), "{}", refused.err);
    std::fs::write(&file, "header-timeout-seconds = \"five\"\n").unwrap();
    assert!(program.run(&["--config", &config, "serve"]).err.contains("wrong type"));
    program.set("HABEAS_LISTN", "127.0.0.1:0");
    let refused = program.run(&["serve"]);
    assert!(refused.err.contains("did you mean `HABEAS_LISTEN`?"), "{}", refused.err);
    program.set("HABEAS_LISTN", "");
    let refused = program.run(&["serve", "--liste", "127.0.0.1:0"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--listen"), "{}", refused.err);
    assert!(!program.data().exists(), "nothing was made before the settings were right");
    std::fs::write(&file, "max-connections = 8\n").unwrap();
    let server = program.serve(&["--config", &config]);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_download_that_broke_off_is_gone_on_with() {
    let program = Program::new();
    let server = program.serve(&[]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.train("POST", &key, &format!("/projects/{project}/images"), &image(1)).status, 200);
    let export = ["export", "--person", "ada@example.org", "--output", "ada.zip"];
    program.succeed(&export);
    let whole = std::fs::read(program.path("ada.zip")).unwrap();
    let token = program.succeed(&["token", "create", "--person", "ada@example.org"]);
    let exports =
        format!("GET /api/privacy/v1/persons/me/exports HTTP/1.1\r\nauthorization: Bearer {}", token.trim());
    let archives = server.request(&exports, &[]).json();
    let id = archives[0]["id"].as_str().unwrap().to_owned();

    std::fs::remove_file(program.path("ada.zip")).unwrap();
    std::fs::write(program.path("ada.zip.part"), &whole[..1000]).unwrap();
    std::fs::write(program.path("ada.zip.part.id"), &id).unwrap();
    let resumed = program.run(&export);
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert!(resumed.err.contains(&format!("going on with archive {id}")), "{}", resumed.err);
    assert!(std::fs::read(program.path("ada.zip")).unwrap() == whole);
    assert_eq!(server.request(&exports, &[]).json().as_array().unwrap().len(), 1, "another archive was made");

    // What lies there is not of that archive: it is not handed over.
    std::fs::write(program.path("ada.zip.part"), [7; 1000]).unwrap();
    std::fs::write(program.path("ada.zip.part.id"), &id).unwrap();
    let damaged = program.run(&export);
    assert_eq!(damaged.code, 1);
    assert!(damaged.err.contains("damaged"), "{}", damaged.err);
    program.succeed(&export);
}

#[test]
fn a_download_with_a_passphrase_is_gone_on_with_by_whoever_knows_it() {
    let program = Program::new();
    let server = program.serve(&["--passphrase-work", "10"]);
    let key = program.person("ada@example.org");
    let project = server.project(&key);
    assert_eq!(server.train("POST", &key, &format!("/projects/{project}/images"), &image(1)).status, 200);
    std::fs::write(program.path("right"), "four words, and a number 7\n").unwrap();
    std::fs::write(program.path("wrong"), "four words, and a number 8\n").unwrap();
    let export = |passphrase: &str| {
        program.run(&[
            "export",
            "--person",
            "ada@example.org",
            "--output",
            "ada.zip.age",
            "--archive-passphrase-file",
            passphrase,
        ])
    };
    let taken = export("right");
    assert_eq!((taken.code, taken.out.as_str()), (0, "ada.zip.age\n"), "{}", taken.err);
    let whole = std::fs::read(program.path("ada.zip.age")).unwrap();
    assert!(whole.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    let token = program.succeed(&["token", "create", "--person", "ada@example.org"]);
    let exports =
        format!("GET /api/privacy/v1/persons/me/exports HTTP/1.1\r\nauthorization: Bearer {}", token.trim());
    let archives = server.request(&exports, &[]).json();
    let id = archives[0]["id"].as_str().unwrap().to_owned();

    std::fs::remove_file(program.path("ada.zip.age")).unwrap();
    std::fs::write(program.path("ada.zip.age.part"), &whole[..1000]).unwrap();
    std::fs::write(program.path("ada.zip.age.part.id"), &id).unwrap();
    let refused = export("wrong");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(
        refused.err.contains("another one") && refused.err.contains("ada.zip.age.part.id"),
        "{}",
        refused.err
    );
    assert!(!program.path("ada.zip.age").exists());
    // What was fetched with the wrong one is not fetched again.
    let resumed = export("right");
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert!(resumed.err.contains(&format!("going on with archive {id}")), "{}", resumed.err);
    assert!(std::fs::read(program.path("ada.zip.age")).unwrap() == whole);
    assert_eq!(server.request(&exports, &[]).json().as_array().unwrap().len(), 1, "another archive was made");
}

#[test]
fn a_token_says_who_and_until_when_and_guessing_is_slowed_down() {
    let mut program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    program.person("bob@example.org");
    let token = program.succeed(&["token", "create", "--person", "ada@example.org", "--days", "2"]);
    let claims = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        token.split('.').nth(1).unwrap(),
    );
    let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let shown = json(&program.succeed(&["person", "show", "ada@example.org", "-o", "json"]));
    assert_eq!(claims["oid"], shown["person"]["objectId"]);
    assert!(claims["tid"].is_string() && claims["exp"].as_i64().unwrap() > 1_700_000_000, "{claims}");

    program.set("HABEAS_PASSWORD", "four words and a number 7");
    for person in ["ada@example.org", "bob@example.org"] {
        program.succeed(&["person", "password", person]);
    }
    let sign_in = |person: &str, password: &str| {
        let form = format!("email={person}%40example.org&password={password}");
        let head = "POST /sign-in HTTP/1.1\r\nsec-fetch-site: same-origin\r\ncontent-type: application/x-www-form-urlencoded";
        server.request(head, form.as_bytes()).status
    };
    let right = "four+words+and+a+number+7";
    assert_eq!(sign_in("ada", right), 303);
    let mut tries = 0;
    while sign_in("ada", "wrong") == 401 {
        tries += 1;
        assert!(tries < 50, "nobody is slowed down");
    }
    assert_eq!(sign_in("ada", right), 429, "whoever guesses waits, right or wrong");
    assert_eq!(sign_in("bob", right), 303, "others do not");
}

#[test]
fn programs_read_what_was_erased_and_what_was_verified() {
    let program = Program::new();
    let server = program.serve(&[]);
    program.person("ada@example.org");
    let plan = json(&program.succeed(&["erase", "plan", "--person", "ada@example.org", "-o", "json"]));
    let plan = plan["plan"].as_str().unwrap();
    let run = ["erase", "run", plan, "--confirm", "ada@example.org", "--receipt", "r.json", "-o", "json"];
    let ran = json(&program.succeed(&run));
    assert_eq!((&ran["plan"], &ran["status"]), (&plan.into(), &"completed".into()), "{ran}");
    let key = program.succeed(&["receipt", "public-key"]);
    let verified =
        json(&program.succeed(&["receipt", "verify", "r.json", "--key", key.trim(), "-o", "json"]));
    assert_eq!(verified["type"], "erasure-receipt/1", "{verified}");
    assert!(verified["keyId"].is_string() && verified["completed"].is_string(), "{verified}");
    let log = json(&program.succeed(&["log", "verify", "--key", key.trim(), "-o", "json"]));
    assert_eq!((&log["origin"], log["root"].as_str().map(str::len)), (&verified["log"]["origin"], Some(64)));
    assert!(log["size"].as_u64() >= verified["log"]["size"].as_u64() && log["size"].is_u64(), "{log}");
    server.stop();

    let whole = json(&program.succeed(&["keyring", "verify", "-o", "json"]));
    assert!(whole["holds"]["keys"].is_u64() && whole["holds"]["ledgerRecords"].is_u64(), "{whole}");
    let copies = whole["copies"].as_array().unwrap();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy["problem"].is_null()), "{whole}");
    let copy = program.data().join("keyring/keyring-b");
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes[4096 + 40] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    let damaged = program.run(&["keyring", "verify", "-o", "json"]);
    let found = json(&damaged.out);
    assert_eq!((damaged.code, &found["holds"]), (6, &serde_json::Value::Null), "{found}");
    let bad = found["copies"].as_array().unwrap().iter().filter(|copy| copy["problem"].is_string());
    assert_eq!(bad.map(|copy| copy["path"].as_str().unwrap()).collect::<Vec<_>>(), [copy.to_str().unwrap()]);
}

#[test]
fn a_sealed_archive_that_was_cut_off_is_not_verified() {
    let mut program = Program::new();
    program.set("HABEAS_PASSPHRASE_WORK", "10");
    let _server = program.serve(&[]);
    program.person("ada@example.org");
    std::fs::write(program.path("passphrase"), "four words, and a number 7\n").unwrap();
    let passphrase = ["--archive-passphrase-file", "passphrase"];
    let export = ["export", "--person", "ada@example.org", "--output", "ada.zip.age"];
    program.succeed(&[&export[..], &passphrase].concat());
    let whole = std::fs::read(program.path("ada.zip.age")).unwrap();
    let import = [&["import", "ada.zip.age", "--any-key"][..], &passphrase].concat();
    let cuts = [(whole.len() - 1, "cut off"), (whole.len() / 2, "cut off"), (40, "header is damaged")];
    for (length, why) in cuts {
        std::fs::write(program.path("ada.zip.age"), &whole[..length]).unwrap();
        let refused = program.run(&import);
        assert_eq!((refused.code, refused.out.as_str()), (6, ""), "{length}: {}", refused.err);
        assert!(refused.err.starts_with("NOT VERIFIED: ") && refused.err.contains(why), "{}", refused.err);
    }
    std::fs::write(program.path("ada.zip.age"), whole).unwrap();
    program.succeed(&import);
}
