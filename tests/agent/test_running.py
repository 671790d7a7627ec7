"""An agent over time: its cluster away and back, its configuration changed under load, its routes moved."""

import json
import threading
import time

from harness import wire
from harness.agent import send
from harness.broker import await_until
from harness.clients import ALL


def values_of(broker, topic: str, partition: int = 0) -> list[bytes]:
    with broker.connect() as connection:
        count = wire.list_offset(connection, topic, partition, wire.LATEST).offset
    rows = ALL["confluent"].consume(broker.bootstrap, topic, partition, 0, count) if count else []
    return [row.value for row in rows]


def test_a_cluster_that_is_away_is_not_noticed_and_order_is_kept(new_broker, new_agent, topic):
    broker = new_broker().start()
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic}}, bootstrap=broker.bootstrap).start()
    sent = []

    def post(count: int) -> None:
        lines = [json.dumps({"n": len(sent) + n}) for n in range(count)]
        assert agent.post_batch("orders", "\n".join(lines)).status == 200
        sent.extend(line.encode() for line in lines)

    post(100)
    agent.await_drained("orders")
    broker.kill()
    for _ in range(50):
        post(100)
    await_until(lambda: agent.channel("orders")["trouble"], "the agent says why events wait")
    assert agent.channel("orders")["waiting_events"] == 5_000
    agent.stop()
    agent.start()
    post(100)
    assert agent.request("GET", "/readyz").status == 200, "events are taken"
    broker.start()
    post(100)
    agent.await_drained("orders")
    assert values_of(broker, topic) == sent
    assert agent.channel("orders")["trouble"] is None
    broker.stop()


def test_a_changed_configuration_is_applied_under_load_and_nothing_is_lost(new_agent, broker, topic):
    old, new = topic, f"{topic}-new"
    broker.create_topic(old, 1)
    broker.create_topic(new, 1)
    agent = new_agent({"orders": {"topic": old}}).start()
    sent: list[bytes] = []
    failures = []
    going = threading.Event()
    going.set()

    def service() -> None:
        connection = agent.connect()
        while going.is_set():
            value = f"{len(sent)}".encode()
            reply = send(connection, "POST", "/v1/channels/orders/events", value, {})
            if reply.status != 200:
                failures.append(reply)
            sent.append(value)
        connection.close()

    thread = threading.Thread(target=service)
    thread.start()
    time.sleep(0.5)
    version = agent.version()
    agent.channels = {"orders": {"topic": new}, "others": {"topic": old}}
    changed = time.monotonic()
    agent.write_config()
    await_until(lambda: agent.version() > version, "the configuration is applied")
    assert time.monotonic() - changed < 1
    time.sleep(0.5)
    going.clear()
    thread.join()
    assert not failures
    agent.await_drained("orders")
    before, after = values_of(broker, old), values_of(broker, new)
    assert before and after and before + after == sent, "everything once, and in order over the change"
    assert agent.post("others", "x", "?level=cluster").status == 200


def test_a_wrong_configuration_changes_nothing_and_is_told(new_agent, broker, topic):
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic}}).start()
    agent.channels = {"orders": {"topic": topic, "lingr": "1ms"}}
    agent.write_config()
    await_until(lambda: "linger" in agent.log_text() and "the one before stays" in agent.log_text(), "it is told")
    assert agent.version() == 1
    assert agent.post("orders", "x", "?level=cluster").status == 200


def test_a_channel_that_is_taken_out_still_empties_its_spool(new_broker, new_agent, topic):
    broker = new_broker().start()
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic}, "others": {"topic": topic}}, bootstrap=broker.bootstrap).start()
    agent.post("orders", "first", "?level=cluster")
    broker.kill()
    agent.post("orders", "second")
    del agent.channels["orders"]
    agent.write_config()
    await_until(lambda: agent.version() == 2, "the configuration is applied")
    assert agent.post("orders", "third").status == 404
    told = agent.channel("orders")
    assert (told["open"], told["waiting_events"]) == (False, 1)
    broker.start()
    agent.await_drained("orders")
    assert values_of(broker, topic) == [b"first", b"second"]
    broker.stop()


def test_partitions_that_are_added_are_used_and_order_is_kept(new_agent, broker, topic):
    broker.create_topic(topic, 1)
    agent = new_agent({"orders": {"topic": topic, "partitioner": "round_robin"}}).start()
    for n in range(20):
        agent.post("orders", f"first {n}", "?level=cluster")
    ALL["java"].admin(broker.bootstrap, "create-partitions", topic=topic, partitions=3)
    # The next configuration looks at the topic at once; without one it is looked at every minute.
    agent.channels["orders"]["linger"] = "2ms"
    agent.write_config()
    await_until(lambda: agent.version() == 2, "the configuration is applied")

    def partition() -> int:
        return agent.post("orders", "more", "?level=cluster").json["partition"]

    await_until(lambda: partition() == 2, "the new partitions are used")
    for n in range(30):
        agent.post("orders", f"last {n}")
    agent.await_drained("orders")
    found = [value for p in range(3) for value in values_of(broker, topic, p)]
    wanted = [f"first {n}" for n in range(20)] + [f"last {n}" for n in range(30)]
    assert sorted(value.decode() for value in found if value != b"more") == sorted(wanted), "everything, and once"
