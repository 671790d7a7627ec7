//! The client with Apache Kafka: as it is, over TLS, with SASL. Needs Java and what scripts/apache-kafka needs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{everything, refusal};
use buslane_client::{
    ANY_VERSION, Address, Client, Config, Error, Identity, Purpose, Sasl, SaslMechanism, Tls,
};
use buslane_wire::ErrorCode;
use buslane_wire::messages::AlterUserScramCredentialsRequest;
use buslane_wire::messages::alter_user_scram_credentials::ScramCredentialUpsertion;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const USER: &str = "ann";
const PASSWORD: &str = "a secret, with = and \u{e4}";
/// What `max.reauth` gives a session.
const SESSION: Duration = Duration::from_secs(3);

/// A broker that is stopped when it is dropped.
struct Kafka {
    data: tempfile::TempDir,
    ports: [u16; 5],
}

const PLAIN: usize = 0;
const TLS: usize = 1;
const MUTUAL_TLS: usize = 2;
const SASL: usize = 3;
const SASL_TLS: usize = 4;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/apache-kafka")
}

impl Kafka {
    fn start() -> Kafka {
        let data = tempfile::tempdir().unwrap();
        certificates(data.path());
        let held: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let all: Vec<u16> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(held);
        let ports: [u16; 5] = all[..5].try_into().unwrap();
        let names = ["PLAIN", "TLS", "MUTUAL", "SASL", "SASLTLS"];
        let listeners: Vec<String> =
            names.iter().zip(ports).map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect();
        let folder = data.path().display();
        let mut settings = vec![
            format!("listeners={},CONTROLLER://127.0.0.1:{}", listeners.join(","), all[5]),
            format!("advertised.listeners={}", listeners.join(",")),
            format!("controller.quorum.voters=1@127.0.0.1:{}", all[5]),
            "listener.security.protocol.map=PLAIN:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,\
             CONTROLLER:PLAINTEXT"
                .to_owned(),
            "inter.broker.listener.name=PLAIN".to_owned(),
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={folder}/server.pem"),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={folder}/ca.pem"),
            "listener.name.mutual.ssl.client.auth=required".to_owned(),
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
            format!("connections.max.reauth.ms={}", SESSION.as_millis()),
        ];
        for listener in ["sasl", "sasltls"] {
            let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
            let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
            let prefix = format!("listener.name.{listener}");
            settings.push(format!(
                "{prefix}.plain.sasl.jaas.config={plain} required user_{USER}=\"{}\";",
                escaped(PASSWORD)
            ));
            for mechanism in ["scram-sha-256", "scram-sha-512"] {
                settings.push(format!("{prefix}.{mechanism}.sasl.jaas.config={scram}"));
            }
        }
        let mut start = Command::new(script());
        start.args(["start", "--port", &ports[PLAIN].to_string(), "--data"]).arg(data.path());
        for setting in settings {
            start.args(["--set", &setting]);
        }
        let kafka = Kafka { data, ports };
        // What it starts outlives it, and must not keep its pipes open.
        let log = kafka.data.path().join("start.log");
        let file = std::fs::File::create(&log).unwrap();
        let done = start.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        assert!(done.success(), "{}", std::fs::read_to_string(log).unwrap());
        kafka
    }

    fn config(&self, listener: usize) -> Config {
        let address = Address { host: "127.0.0.1".to_owned(), port: self.ports[listener] };
        let mut config = Config::new(vec![address], "test");
        if [TLS, MUTUAL_TLS, SASL_TLS].contains(&listener) {
            config.tls = Some(Tls { ca_file: Some(self.file("ca.pem")), ..Tls::default() });
        }
        config
    }

    fn with_sasl(&self, listener: usize, mechanism: SaslMechanism, password: &str) -> Config {
        let sasl = Sasl { mechanism, username: USER.to_owned(), password: password.to_owned() };
        Config { sasl: Some(sasl), ..self.config(listener) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = Command::new(script()).args(["stop", "--data"]).arg(self.data.path()).status();
    }
}

/// For a properties file, in Latin-1.
fn escaped(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", c as u32) }).collect()
}

/// An authority, another one, and certificates of the first for the server and for a client.
fn certificates(folder: &Path) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    let (ca, other) = (authority("ours"), authority("others"));
    write("ca.pem", ca.pem());
    write("other-ca.pem", other.pem());
    let signed = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = signed(&["127.0.0.1", "kafka.test"]);
    write("server.pem", format!("{key}{certificate}"));
    let (certificate, key) = signed(&["client"]);
    write("client.pem", certificate);
    write("client.key", key);
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_kafka_as_it_is_over_tls_and_with_sasl() {
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    give_a_password(&kafka).await;
    everything(kafka.config(PLAIN)).await;
    tls(&kafka).await;
    sasl(&kafka).await;
    sessions_end(&kafka).await;
}

/// Kafka keeps what is derived from the password (KIP-554).
async fn give_a_password(kafka: &Kafka) {
    let (salt, iterations) = (b"salt of this test", 4_096);
    let (mut short, mut long) = ([0; 32], [0; 64]);
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(PASSWORD.as_bytes(), salt, iterations, &mut short);
    pbkdf2::pbkdf2_hmac::<sha2::Sha512>(PASSWORD.as_bytes(), salt, iterations, &mut long);
    let upsertion = |mechanism, salted_password| ScramCredentialUpsertion {
        name: USER,
        mechanism,
        iterations: iterations as i32,
        salt,
        salted_password,
    };
    let client = Client::new(kafka.config(PLAIN)).unwrap();
    // A user comes once in a request.
    for upsertion in [upsertion(1, &short[..]), upsertion(2, &long[..])] {
        let request = AlterUserScramCredentialsRequest { upsertions: vec![upsertion], ..Default::default() };
        let answer = client.ask(ANY_VERSION, &request).await.unwrap();
        assert_eq!(answer.read().unwrap().results[0].error_code, ErrorCode::NONE);
    }
}

async fn reaches(config: Config) {
    assert!(!Client::new(config).unwrap().refresh(&["one"]).await.unwrap().topics["one"].id.is_zero());
}

async fn tls(kafka: &Kafka) {
    reaches(kafka.config(TLS)).await;
    let mut named = kafka.config(TLS);
    named.tls.as_mut().unwrap().server_name = Some("kafka.test".to_owned());
    reaches(named.clone()).await;
    named.tls.as_mut().unwrap().server_name = Some("elsewhere.test".to_owned());
    let error = refusal(named).await.to_string();
    assert!(error.contains("TLS") && error.contains("elsewhere.test"), "{error}");
    let mut foreign = kafka.config(TLS);
    foreign.tls.as_mut().unwrap().ca_file = Some(kafka.file("other-ca.pem"));
    let error = refusal(foreign).await.to_string();
    assert!(error.contains("TLS") && error.contains("UnknownIssuer"), "{error}");
    let error = refusal(Config { tls: None, ..kafka.config(TLS) }).await.to_string();
    assert!(error.contains("perhaps it wants TLS"), "{error}");
    let error = refusal(Config { tls: kafka.config(TLS).tls, ..kafka.config(PLAIN) }).await.to_string();
    assert!(error.contains("perhaps it speaks no TLS there"), "{error}");
    // Who the client is.
    let error = refusal(kafka.config(MUTUAL_TLS)).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let mut known = kafka.config(MUTUAL_TLS);
    known.tls.as_mut().unwrap().identity =
        Some(Identity { certificate_file: kafka.file("client.pem"), key_file: kafka.file("client.key") });
    reaches(known.clone()).await;
    for (file, expected) in [("none.pem", "none.pem cannot be used"), ("client.key", "no certificate")] {
        let mut wrong = known.clone();
        wrong.tls.as_mut().unwrap().ca_file = Some(kafka.file(file));
        let error = Client::new(wrong).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

async fn sasl(kafka: &Kafka) {
    use SaslMechanism::{Plain, ScramSha256, ScramSha512};
    for mechanism in [Plain, ScramSha256, ScramSha512] {
        reaches(kafka.with_sasl(SASL, mechanism, PASSWORD)).await;
        reaches(kafka.with_sasl(SASL_TLS, mechanism, PASSWORD)).await;
        let error = refusal(kafka.with_sasl(SASL, mechanism, "wrong")).await;
        assert!(matches!(&error, Error::Authentication { .. }) && !error.is_retriable(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("\"ann\"") && text.contains(mechanism.name()) && !text.contains("wrong"),
            "{text}"
        );
    }
    let error = refusal(kafka.with_sasl(PLAIN, Plain, PASSWORD)).await.to_string();
    assert!(error.contains("no SASL there"), "{error}");
    let error = refusal(kafka.config(SASL)).await;
    assert!(error.to_string().contains("it closed the connection"), "{error}");
}

/// The broker ends connections that do not say anew who they are (KIP-368): the client takes another in time.
async fn sessions_end(kafka: &Kafka) {
    let client = Client::new(kafka.with_sasl(SASL, SaslMechanism::ScramSha512, PASSWORD)).unwrap();
    let node = client.leader("one", 0).await.unwrap();
    let first = client.node(node, Purpose::Requests).await.unwrap();
    let end = tokio::time::Instant::now() + 2 * SESSION;
    while tokio::time::Instant::now() < end {
        let limit = Duration::from_secs(5);
        let connection = client.node(node, Purpose::Requests).await.unwrap();
        let request =
            buslane_wire::messages::MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let answer = connection.ask(4..=i16::MAX, &request, limit).await.unwrap();
        assert_eq!(answer.read().unwrap().error_code, ErrorCode::NONE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!first.is_usable());
}
