use buslane_group::consumer::{AssignorKind, MigrationPolicy};

use super::*;

fn load(text: &str) -> Result<ServerConfig, String> {
    ServerConfig::from_parts(Some((Path::new("b.toml"), text)), &[]).map_err(|e| e.to_string())
}

fn option(option: &str, key: &'static str, value: &str) -> Override {
    Override { option: option.to_owned(), key, value: value.to_owned() }
}

#[test]
fn the_reference_is_a_file_of_all_defaults() {
    assert_eq!(load(&reference()), Ok(ServerConfig::default()));
    assert_eq!(load(""), Ok(ServerConfig::default()));
    assert_eq!(reference().matches(" = ").count(), keys().count());
}

#[test]
fn values_have_their_types_and_units() {
    let config = load(
        r#"
        server.listen = "[::1]:19092"
        [limits]
        memory = "512MiB"
        request_max = "16 MiB"
        idle = "90s"
        requests_in_flight = 0x10
        [topics]
        partitions = 12
        retention = "unlimited"
        "#,
    )
    .unwrap();
    assert_eq!(config.server.listen, "[::1]:19092".parse().unwrap());
    assert_eq!(config.limits.memory, Auto(Some(ByteSize(512 << 20))));
    assert_eq!(config.topics.retention, Bound(None));
    assert_eq!(config.topics.partitions, 12);
    let listener = config.kafka_listener();
    assert_eq!(listener.connection.frame_bytes_max, 16 << 20);
    assert_eq!(listener.connection.idle_max, Duration::from_secs(90));
    assert_eq!(listener.connection.in_flight_max, 16);
    assert_eq!(config.budget().usage().total, 512 << 20);
}

#[test]
fn everything_wrong_is_said_at_once_with_file_and_line() {
    let error = load(
        "[limits]\nmemroy = \"1GiB\"\nidle = 600\nconnections = 0\n\n[server]\nlisten = \"localhost\"\n",
    );
    assert_eq!(
        error.unwrap_err(),
        "b.toml:2: unknown key limits.memroy; the nearest known key is limits.memory\n\
         b.toml:3: limits.idle: 600 is not a time with its unit (ms, s, m, h, d), like \"10s\"\n\
         b.toml:4: limits.connections: must be from 1 to 1000000\n\
         b.toml:7: server.listen: \"localhost\" is not an IP address and a port, like \"127.0.0.1:9092\""
    );
}

#[test]
fn names_of_kafka_and_keys_outside_their_section_find_ours() {
    let cases = [
        ("num.partitions = 4", "b.toml:1: unknown key num.partitions; here it is topics.partitions"),
        (
            "[server]\nsocket.request.max.bytes = 5",
            "b.toml:2: unknown key server.socket.request.max.bytes; here it is limits.request_max",
        ),
        ("listen = \"127.0.0.1:1\"", "b.toml:1: unknown key listen; the nearest known key is server.listen"),
        (
            "[zzz]\nqqq = 1",
            "b.toml:2: unknown key zzz.qqq; known sections are server, http, limits, topics, groups, scrub, compaction",
        ),
        ("server = 5", "b.toml:1: server is a section: write [server] and its keys below"),
    ];
    for (text, error) in cases {
        assert_eq!(load(text).unwrap_err(), error);
    }
}

#[test]
fn broken_toml_names_its_line() {
    let error = load("[server]\nlisten = \"127.0.0.1:1\"\n[limits\n").unwrap_err();
    assert!(error.starts_with("b.toml:3: "), "{error}");
    let twice = load("[topics]\npartitions = 1\npartitions = 2\n").unwrap_err();
    assert!(twice.starts_with("b.toml:3: "), "{twice}");
    assert!(load("a = \"\u{e9}").is_err());
}

#[test]
fn other_machines_are_refused_unless_it_is_said_to_be_insecure() {
    let open = "[server]\nlisten = \"0.0.0.0:9092\"\nadvertise = \"b1:9092\"\n";
    assert!(load(open).unwrap_err().starts_with("b.toml:2: server.listen: 0.0.0.0:9092 can be reached"));
    assert!(load(&format!("{open}insecure_listen = true")).is_ok());
    let http = load("[http]\nlisten = \"192.0.2.1:8080\"").unwrap_err();
    assert!(http.starts_with("b.toml:2: http.listen"), "{http}");
    assert!(load("[http]\nlisten = \"192.0.2.1:8080\"\nenabled = false").is_ok());
    assert!(load("[server]\nlisten = \"[::ffff:127.0.0.1]:1\"").is_ok());
    let silent = load("[server]\nlisten = \"0.0.0.0:9092\"\ninsecure_listen = true").unwrap_err();
    assert!(silent.starts_with("default: server.advertise: must be given"), "{silent}");
}

#[test]
fn the_command_line_wins_and_is_named() {
    let file = Some((Path::new("b.toml"), "server.listen = \"127.0.0.1:1\"\n"));
    let config =
        ServerConfig::from_parts(file, &[option("--listen", "server.listen", "127.0.0.1:2")]).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    let wrong = ServerConfig::from_parts(file, &[option("--listen", "server.listen", "9092")]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "--listen: \"9092\" is not an IP address and a port, like \"127.0.0.1:9092\""
    );
    let open =
        ServerConfig::from_parts(file, &[option("--listen", "server.listen", "192.0.2.1:1")]).unwrap_err();
    assert!(open.to_string().starts_with("--listen: server.listen: 192.0.2.1:1 can be reached"), "{open}");
}

#[test]
fn a_budget_must_hold_two_of_the_largest_requests() {
    let error = load("[limits]\nmemory = \"64MiB\"\n").unwrap_err();
    assert!(error.starts_with("b.toml:2: limits.memory: 64MiB must be at least 200MiB"), "{error}");
    assert!(load("[limits]\nmemory = \"64MiB\"\nrequest_max = \"32MiB\"\n").is_ok());
}

#[test]
fn compaction_has_a_pause_memory_and_a_rate() {
    let compaction = |text: &str| {
        load(text).map(|config| {
            let section = config.compaction;
            (section.check, section.memory, section.rate)
        })
    };
    assert_eq!(compaction(""), Ok((Duration::from_secs(15), ByteSize(128 << 20), ByteSize(64 << 20))));
    let given = "[compaction]\ncheck = \"1s\"\nmemory = \"1MiB\"\nrate = \"1GiB\"";
    assert_eq!(compaction(given), Ok((Duration::from_secs(1), ByteSize(1 << 20), ByteSize(1 << 30))));
    assert_eq!(
        compaction("[compaction]\nmemory = \"1KiB\"").unwrap_err(),
        "b.toml:2: compaction.memory: must be from 1MiB to 64GiB"
    );
}

#[test]
fn a_scrub_has_an_interval_and_a_rate() {
    let scrub = |text: &str| load(text).map(|config| (config.scrub.interval, config.scrub.rate));
    let day = Duration::from_secs(86_400);
    assert_eq!(scrub(""), Ok((7 * day, ByteSize(8 << 20))));
    assert_eq!(scrub("[scrub]\ninterval = \"0s\"\nrate = \"1GiB\""), Ok((Duration::ZERO, ByteSize(1 << 30))));
    assert_eq!(
        scrub("[scrub]\nrate = \"0B\"\ninterval = 7").unwrap_err(),
        "b.toml:2: scrub.rate: must be from 64KiB to 64GiB\n\
         b.toml:3: scrub.interval: 7 is not a time with its unit (ms, s, m, h, d), like \"10s\""
    );
}

#[test]
fn groups_have_kafkas_settings() {
    let text = "[groups]\nconsumer_assignors = [\"range\"]\nconsumer_migration = \"upgrade\"\nsize_max = 7\n\
                consumer_session_timeout = \"8s\"\noffsets_retention = \"30d\"";
    let told = load(text).unwrap().groups.coordinator();
    assert_eq!(told.consumer.assignors, [AssignorKind::Range]);
    assert_eq!(told.consumer.migration_policy, MigrationPolicy::Upgrade);
    assert_eq!((told.group_max_size, told.consumer.classic_max_size), (7, 7));
    assert_eq!((told.consumer.session_timeout_ms, told.offsets_retention_ms), (8_000, 2_592_000_000));
    assert_eq!(
        load("[groups]\nconsumer_assignors = []\nconsumer_migration = \"up\"\n").unwrap_err(),
        "b.toml:2: groups.consumer_assignors: this array is not an array of names, best first, of \"uniform\" and \"range\"\n\
         b.toml:3: groups.consumer_migration: \"up\" is not one of \"bidirectional\", \"upgrade\", \"downgrade\", \"disabled\""
    );
    assert_eq!(
        load("[groups]\nsession_timeout_max = \"5s\"\nconsumer_heartbeat_interval = \"45s\"\n").unwrap_err(),
        "b.toml:3: groups.consumer_heartbeat_interval: must be shorter than groups.consumer_session_timeout\n\
         default: groups.session_timeout_min: must not be longer than groups.session_timeout_max"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = ServerConfig::load(Some(Path::new("/no/such/file.toml")), &[]).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/file.toml: cannot be read: "), "{error}");
}
