"""What a service of the host sends to its agent, what it is answered, and what consumers find in the topic."""

import base64
import json
import struct
import time

import confluent_kafka
import pytest

from harness import wire
from harness.broker import StartFailed, await_until
from harness.clients import ALL
from harness.records import Record


def records(broker, topic: str, partitions: int = 1) -> dict[int, list[Record]]:
    """All records of a topic by partition, as librdkafka reads them."""
    with broker.connect() as connection:
        counts = [wire.list_offset(connection, topic, p, wire.LATEST).offset for p in range(partitions)]
    return {p: ALL["confluent"].consume(broker.bootstrap, topic, p, 0, count) for p, count in enumerate(counts) if count}


def values(broker, topic: str, partitions: int = 1) -> list[bytes]:
    return sorted(record.value for rows in records(broker, topic, partitions).values() for record in rows)


@pytest.fixture
def agent(new_agent, broker, topic):
    broker.create_topic(topic, 3)
    return new_agent({"orders": {"topic": topic, "linger": "1ms"}}).start()


def test_an_event_is_answered_at_the_level_it_asks_for(agent, broker, topic):
    seen = []
    for level in ("memory", "disk", "cluster"):
        reply = agent.post("orders", level, f"?level={level}")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json["level"] == level
        assert ("offset" in reply.json) == (level == "cluster")
        seen.append(reply.json)
    last = seen[-1]
    assert next(r for r in records(broker, topic, 3)[last["partition"]] if r.offset == last["offset"]).value == b"cluster"
    agent.await_drained("orders")
    assert values(broker, topic, 3) == [b"cluster", b"disk", b"memory"]
    for event in seen:
        followed = agent.request("GET", f"/v1/events/{event['id']}").json
        assert (followed["id"], followed["channel"], followed["level"]) == (event["id"], "orders", "cluster")


def test_the_unix_socket_is_the_same_door(agent, broker, topic):
    assert agent.post("orders", "over a socket", "?level=cluster", unix=True).status == 200
    assert agent.socket.stat().st_mode & 0o777 == 0o660
    assert values(broker, topic, 3) == [b"over a socket"]


@pytest.mark.parametrize("form", ["ndjson", "prefixed", "cloudevents"])
def test_a_batch_has_a_report_for_each_event_in_order(agent, broker, topic, form):
    bodies = [json.dumps({"n": n}).encode() for n in range(20)]
    ids = [f"ce-{n}" for n in range(20)]
    match form:
        case "ndjson":
            body, content_type = b"\r\n".join(bodies) + b"\n\n", "application/x-ndjson; charset=utf-8"
        case "prefixed":
            body, content_type = b"".join(struct.pack(">I", len(b)) + b for b in bodies), "application/octet-stream"
        case "cloudevents":
            events = [{"specversion": "1.0", "id": i, "source": "/test", "type": "t", "data": json.loads(b)} for i, b in zip(ids, bodies)]
            bodies = [json.dumps(event).encode() for event in events]
            body, content_type = b"[" + b" , ".join(bodies) + b"]", "application/cloudevents-batch+json"
    reply = agent.post_batch("orders", body, content_type, "?level=cluster")
    assert (reply.status, reply.json["level"]) == (200, "cluster")
    reports = reply.json["events"]
    assert len(reports) == 20 and all(report["level"] == "cluster" for report in reports)
    if form == "cloudevents":
        assert [report["id"] for report in reports] == ids
    stored = {(p, r.offset): r.value for p, rows in records(broker, topic, 3).items() for r in rows}
    assert [stored[report["partition"], report["offset"]] for report in reports] == bodies


def test_what_a_request_says_of_its_event_goes_into_the_record(agent, broker, topic):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    agent.post("orders", "plain", "?level=cluster", Buslane_Key="k 1", Buslane_Id="id-1", traceparent=trace, baggage="lane=blue")
    agent.post(
        "orders", b"\x00binary", "?level=cluster", Content_Type="image/png",
        ce_specversion="1.0", ce_id="7", ce_source="/s", ce_type="made", ce_subject="caf%C3%A9", ce_partitionkey="pk",
    )  # fmt: skip
    structured = json.dumps({"specversion": "1.0", "id": "8", "source": "/s", "type": "made", "partitionkey": "pk2", "data": 1})
    reply = agent.post("orders", structured, "?level=cluster", Content_Type="application/cloudevents+json")
    assert reply.json["id"] == "8"
    found = {r.value: r for rows in records(broker, topic, 3).values() for r in rows}
    plain = found[b"plain"]
    assert plain.key == b"k 1"
    assert plain.headers == (("traceparent", trace.encode()), ("baggage", b"lane=blue"), ("buslane-id", b"id-1"))
    binary = found[b"\x00binary"]
    assert binary.key == b"pk"
    assert dict(binary.headers) == {
        "ce_specversion": b"1.0", "ce_id": b"7", "ce_source": b"/s", "ce_type": b"made",
        "ce_subject": "café".encode(), "ce_partitionkey": b"pk", "content-type": b"image/png",
    }  # fmt: skip
    event = found[structured.encode()]
    assert event.key == b"pk2"
    assert event.headers == (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def test_events_of_a_key_go_where_kafkas_clients_send_them(new_agent, broker, topic):
    broker.create_topic(topic, 5)
    agent = new_agent({"orders": {"topic": topic, "key": "order.id"}}).start()
    keys = [f"key-{n}" for n in range(40)]
    for key in keys:
        assert agent.post("orders", json.dumps({"order": {"id": key}})).status == 200
    agent.await_drained("orders")
    ours = {r.key.decode(): p for p, rows in records(broker, topic, 5).items() for r in rows}
    theirs = {}
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, key=key, on_delivery=lambda _, message: theirs.update({message.key().decode(): message.partition()}))
    producer.flush()
    assert ours == theirs and len(set(ours.values())) == 5


def test_an_event_with_the_same_id_is_taken_once(agent, broker, topic):
    first = agent.post("orders", "one", Buslane_Id="a")
    again = agent.post("orders", "another body", "?level=cluster", Buslane_Id="a")
    assert (first.json, again.status) == ({"id": "a", "level": "memory"}, 200)
    assert again.json["duplicate"] is True and again.json["level"] == "cluster"
    ce = {"ce_specversion": "1.0", "ce_id": "a", "ce_type": "t"}
    assert "duplicate" not in agent.post("orders", "two", ce_source="/x", **ce).json
    assert "duplicate" not in agent.post("orders", "three", ce_source="/y", **ce).json
    assert agent.post("orders", "four", ce_source="/x", **ce).json["duplicate"] is True
    batch = [{"specversion": "1.0", "id": i, "source": "/x", "type": "t"} for i in ("a", "b", "b")]
    reply = agent.post_batch("orders", json.dumps(batch), "application/cloudevents-batch+json", "?level=cluster")
    assert [report.get("duplicate", False) for report in reply.json["events"]] == [True, False, True]
    assert len(values(broker, topic, 3)) == 4
    assert agent.metric("duplicates_total", "orders") == 4


def test_ids_are_remembered_over_a_crash_and_for_the_window(new_agent, broker, topic):
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic, "dedup_window": "3s"}}).start()
    began = time.monotonic()
    assert "duplicate" not in agent.post("orders", "one", Buslane_Id="a").json
    agent.kill()
    agent.start()
    assert agent.post("orders", "one", Buslane_Id="a").json.get("duplicate") is True or time.monotonic() - began > 3
    time.sleep(max(0.0, 3.2 - (time.monotonic() - began)))
    assert "duplicate" not in agent.post("orders", "one", Buslane_Id="a").json
    agent.await_drained("orders")
    assert values(broker, topic) == [b"one", b"one"]


@pytest.mark.parametrize(
    ("what", "status", "code", "detail"),
    [
        (dict(path="/v1/channels/order/events"), 404, "unknown_channel", 'channel "order" is unknown; nearest: orders'),
        (dict(path="/v1/nothing"), 404, "not_found", "nothing here"),
        (dict(query="?level=galaxy"), 400, "bad_level", "there are memory, disk and cluster"),
        (dict(query="?timeout=5"), 400, "bad_timeout", "a number with ms or s"),
        (dict(query="?lvl=disk"), 400, "bad_parameter", "there are level and timeout"),
        (dict(body="{", Content_Type="application/json"), 400, "bad_event", "no JSON"),
        (dict(Content_Type="application/cloudevents+json", body='{"id":"1"}'), 400, "bad_event", "missing field"),
        (dict(ce_specversion="1.0", ce_id="1", ce_type="t"), 400, "bad_header", "this one has none"),
        (dict(ce_specversion="0.3", ce_id="1"), 400, "bad_header", "1.0 is"),
        (dict(Buslane_Id=""), 400, "bad_header", "1 to 1024 bytes"),
        (dict(Content_Type="application/x-ndjson"), 415, "batch", "events:batch"),
        (dict(batch=True, Content_Type="text/csv"), 415, "not_a_batch", "application/x-ndjson"),
        (dict(batch=True, Content_Type="application/x-ndjson", body="\n"), 400, "empty_batch", "no event"),
        (dict(batch=True, Content_Type="application/x-ndjson", body='{"a":1}\n{"a":'), 400, "bad_event", "event 1, counted from 0"),
        (dict(batch=True, Content_Type="application/octet-stream", body=b"\0\0\0\x05ab"), 400, "bad_batch", "cut off"),
        (dict(body="x" * 1_000_001), 413, "event_too_large", "takes 1000000"),
        (dict(body="x" * (33 << 20)), 413, "body_too_large", "at most"),
        (dict(Origin="https://example.com"), 403, "not_this_host", "localhost"),
        (dict(Host="agent.example.com"), 403, "not_this_host", "localhost"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_right(agent, broker, topic, what, status, code, detail):
    path = what.pop("path", "/v1/channels/orders/events" + (":batch" if what.pop("batch", False) else "") + what.pop("query", ""))
    reply = agent.request("POST", path, what.pop("body", "event"), **what)
    assert (reply.status, reply.headers["content-type"]) == (status, "application/problem+json")
    assert (reply.json["status"], reply.json["code"]) == (status, code)
    assert detail in reply.json["detail"]
    agent.post("orders", "the only one", "?level=cluster")
    assert values(broker, topic, 3) == [b"the only one"]


def test_an_event_that_is_not_known_is_not_found(agent):
    for unknown in ("nothing", agent.post("orders", "x").json["id"].rpartition("~")[0] + "~99"):
        reply = agent.request("GET", f"/v1/events/{unknown}")
        assert (reply.status, reply.json["code"]) == (404, "unknown_event")


def test_a_full_spool_says_when_to_come_again(new_agent, topic):
    agent = new_agent({"orders": {"topic": topic, "spool_bytes": "1MiB"}, "others": {"topic": topic}}, bootstrap="127.0.0.1:1").start()
    body = "x" * 100_000
    taken = 0
    while (reply := agent.post("orders", body)).status == 200:
        taken += 1
        assert taken < 12
    assert (reply.status, reply.json["code"], taken) == (429, "spool_full", 10)
    assert int(reply.headers["retry-after"]) > 0
    assert agent.post("others", body).status == 200, "another channel's quota is its own"
    assert agent.channel("orders")["waiting_events"] == 10
    assert "cannot be reached" in agent.channel("orders")["trouble"]


def test_a_level_that_is_not_reached_in_time_is_answered_202(new_agent, broker, topic):
    agent = new_agent({"orders": {"topic": topic}}).start()
    reply = agent.post("orders", "early", "?level=cluster&timeout=200ms")
    assert reply.status == 202 and reply.json["level"] in ("memory", "disk") and "offset" not in reply.json
    broker.create_topic(topic, 1)
    url = f"/v1/events/{reply.json['id']}"
    await_until(lambda: agent.request("GET", url).json["level"] == "cluster", "the event arrives")
    assert agent.request("GET", url).json == {"id": reply.json["id"], "channel": "orders", "level": "cluster", "partition": 0, "offset": 0}


def test_a_token_is_wanted_where_there_is_one(new_agent, broker, topic):
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic}})
    token = agent.root / "token"
    token.write_text("s3cret\n")
    agent.agent["token_file"] = str(token)
    agent.start()
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic " + base64.b64encode(b"s3cret").decode()}):
        reply = agent.post("orders", "x", **headers)
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
    assert agent.post("orders", "x", Authorization="Bearer s3cret").status == 200
    assert agent.post("orders", "x", unix=True).status == 200, "whoever may open the socket may use it"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.channels["orders"].update(lingr="1ms"), 'perhaps "linger" is meant'),
        (lambda a: a.channels["orders"].update(cluster="mian"), 'channels.orders.cluster: cluster "mian" is unknown; nearest: main'),
        (lambda a: a.agent.update(listen="0.0.0.0:0"), "agent.listen: 0.0.0.0:0 is reached from other hosts"),
        (lambda a: a.clusters["main"].update(tls={"ca_file": "/nowhere.pem"}), "/nowhere.pem"),
    ],
)
def test_an_agent_does_not_start_with_a_configuration_that_is_wrong(new_agent, topic, change, told):
    agent = new_agent({"orders": {"topic": topic}})
    change(agent)
    with pytest.raises(StartFailed) as failed:
        agent.start()
    assert told in failed.value.output
    assert failed.value.code in (1, 2)
