//! What the command line promises without a broker: help, exit codes, messages, completion.

use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::fixture::{buslane, buslane_with, command};

/// Every verb, as the words that call it.
const VERBS: [&[&str]; 12] = [
    &["server"],
    &["topic", "create"],
    &["topic", "list"],
    &["topic", "describe"],
    &["topic", "delete"],
    &["produce"],
    &["consume"],
    &["bench", "produce"],
    &["bench", "consume"],
    &["log", "verify"],
    &["log", "dump"],
    &["completion"],
];

/// The verbs that talk to a broker, with the arguments they need.
const CLIENT_VERBS: [&[&str]; 8] = [
    &["topic", "create", "t"],
    &["topic", "list"],
    &["topic", "describe", "t"],
    &["topic", "delete", "t"],
    &["produce", "t"],
    &["consume", "t"],
    &["bench", "produce", "t"],
    &["bench", "consume", "t"],
];

#[test]
fn every_verb_explains_itself_with_examples() {
    for verb in VERBS {
        let help = buslane(&[verb, &["--help"]].concat()).expect(0).stdout;
        assert!(help.contains(&format!("Usage: buslane {}", verb.join(" "))), "{help}");
        assert!(
            help.contains(&format!("Examples:\n  buslane {}", verb.join(" ")))
                || help.contains("Examples:\n  echo"),
            "{help}"
        );
    }
}

#[test]
fn the_help_lists_every_verb_and_the_exit_codes() {
    let help = buslane(&["--help"]).expect(0).stdout;
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {} ", verb[0])), "{} is missing:\n{help}", verb[0]);
    }
    assert!(help.contains("Exit codes:"), "{help}");
    buslane(&["--version"]).expect(0);
}

#[test]
fn a_wrong_command_line_exits_with_2_and_names_what_is_wrong() {
    for (args, complaint) in [
        (&[][..], "Usage"),
        (&["topci"], "unrecognized subcommand"),
        (&["produce"], "<TOPIC>"),
        (&["produce", "t", "--acks", "2"], "[possible values: 0, 1, all]"),
        (&["produce", "t", "--acks", "1", "--idempotent"], "--idempotent needs --acks all"),
        (&["produce", "t", "--linger", "5"], "write for example 500ms"),
        (&["produce", "t", "--key-separator", ""], "--key-separator is empty"),
        (&["produce", "t", "--input", "json", "--key-separator", ":"], "--key-separator is for text"),
        (&["produce", "t", "--header", "x"], "NAME=VALUE"),
        (&["consume", "t", "--offset", "first"], "beginning, end, an offset"),
        (&["consume", "t", "--offset", "1", "--tail", "2"], "cannot be used with"),
        (&["consume", "t", "--since", "yesterday"], "how long ago"),
        (&["consume", "t", "--json", "--show", "key"], "JSON has every field"),
        (&["topic", "create", "t", "--partitions", "0"], "0 is not in 1.."),
        (&["bench", "produce", "t", "--record-size", "1XB"], "write for example 1024"),
        (&["topic", "list", "--bootstrap", "a:b"], "the port is not 1 to 65535"),
        (&["topic", "list", "--bootstrap", ","], "names no address"),
        (&["topic", "list", "--log-level", "a=b=c"], "invalid"),
    ] {
        let done = buslane(args).expect(2);
        assert!(done.stderr.contains(complaint), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
    }
}

#[test]
fn a_wrong_client_setting_is_named() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = open.local_addr().unwrap().to_string();
    let done = buslane(&["topic", "list", "--bootstrap", &address, "-X", "no.such.setting=1"]).expect(2);
    assert!(done.stderr.contains("no.such.setting"), "{}", done.stderr);
}

#[test]
fn no_broker_is_told_at_once_with_address_and_remedy() {
    // A port that was free a moment ago; on loopback nobody takes it in between.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for verb in CLIENT_VERBS {
        let start = Instant::now();
        let done = buslane(&[verb, &["--bootstrap", &address]].concat()).expect(3);
        assert!(done.stderr.contains(&format!("{address}: connection refused")), "{verb:?}: {}", done.stderr);
        assert!(done.stderr.contains("scripts/dev"), "{verb:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{verb:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{verb:?} took {:?}", start.elapsed());
    }
}

#[test]
fn the_bootstrap_variable_is_heeded_and_the_flag_wins() {
    let refused = |variable: &str, args: &[&str]| {
        let output = command(args).env("BUSLANE_BOOTSTRAP", variable).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("127.0.0.1:1", &["topic", "list"]).contains("127.0.0.1:1: "));
    assert!(refused("127.0.0.1:1", &["topic", "list", "-b", "127.0.0.1:2"]).contains("127.0.0.1:2: "));
}

#[test]
fn a_server_that_is_no_kafka_broker_is_told_within_the_time_limit() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let start = Instant::now();
    let done = buslane(&["topic", "list", "--bootstrap", &address, "--timeout", "1s"]).expect(3);
    assert!(
        done.stderr.contains(&format!("{address} took the connection but did not answer")),
        "{}",
        done.stderr
    );
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
}

#[test]
fn a_missing_input_file_is_named() {
    let done = buslane_with(&["produce", "t", "--file", "/no/such/file"], b"").expect(1);
    assert!(done.stderr.contains("cannot read /no/such/file"), "{}", done.stderr);
}

#[test]
fn completion_knows_our_words() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = buslane(&["completion", shell]).expect(0).stdout;
        for word in ["topic", "exit-at-end", "idempotent"] {
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
    }
    buslane(&["completion", "tcsh"]).expect(2);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        command(&["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // As `| head -c 10` does, though here it may be gone before the first byte.
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}
