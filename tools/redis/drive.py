"""redis-py against a Redis server: drive.py HOST PORT [USER PASSWORD]. Says `ok` at the end, or stops at what is wrong."""

import sys
import time

import redis


def main(host, port, user=None, password=None):
    for protocol in (2, 3):
        client = redis.Redis(
            host=host, port=port, username=user, password=password, protocol=protocol, socket_timeout=60
        )
        values(client)
        pipelines(client)
        transactions(client)
        messages(client)
        client.close()
    pool(host, port, user, password)
    print("ok")


def values(client):
    assert client.ping()
    client.delete("py:a", "py:b", "py:n")
    assert client.set("py:a", b"\x00\r\n\xff", ex=100) is True
    assert client.get("py:a") == b"\x00\r\n\xff"
    assert 90 < client.ttl("py:a") <= 100 and client.type("py:a") == b"string"
    assert client.set("py:a", "x", nx=True) is None
    assert client.set("py:a", "y", xx=True, keepttl=True) is True and client.ttl("py:a") > 90
    assert client.getset("py:a", "z") == b"y" and client.getdel("py:a") == b"z" and client.get("py:a") is None
    assert client.incr("py:n") == 1 and client.incrby("py:n", 41) == 42 and client.incrbyfloat("py:n", 0.5) == 42.5
    assert client.mset({"py:a": 1, "py:b": 2}) and client.mget("py:a", "py:b", "py:no") == [b"1", b"2", None]
    assert client.append("py:a", "23") == 3 and client.getrange("py:a", 0, 1) == b"12" and client.strlen("py:a") == 3
    assert client.expire("py:a", 50) and client.exists("py:a", "py:b") == 2 and client.pexpire("py:b", 40)
    time.sleep(0.2)
    assert client.exists("py:b") == 0 and client.pttl("py:b") == -2
    assert {"py:a", "py:n"} <= {key.decode() for key in client.scan_iter(match="py:*", count=10)}
    assert client.rename("py:a", "py:b") and client.get("py:b") == b"123"
    long = b"v" * 3_000_000
    assert client.set("py:long", long, px=60_000) and client.get("py:long") == long
    try:
        client.incr("py:long")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
    else:
        raise AssertionError("no number was counted up")
    assert client.info("server")["redis_version"].startswith("7.0") and client.info()["loading"] == 0
    assert client.client_setname("tests") and client.client_getname() in ("tests", b"tests")
    assert any(one["name"] == "tests" for one in client.client_list())
    assert client.command_count() > 50 and client.time()[0] > 1_700_000_000
    assert client.config_get("save") in ({"save": ""}, {b"save": b""})


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for number in range(2000):
            pipe.set(f"py:p{number}", number, ex=60)
            pipe.get(f"py:p{number}")
        answers = pipe.execute()
    assert answers == [part for number in range(2000) for part in (True, str(number).encode())]


def transactions(client):
    client.set("py:count", 1)
    with client.pipeline() as pipe:
        pipe.watch("py:count")
        value = int(pipe.get("py:count"))
        pipe.multi()
        pipe.set("py:count", value + 1).get("py:count")
        assert pipe.execute() == [True, b"2"]
        pipe.watch("py:count")
        client.set("py:count", 7)
        pipe.multi()
        pipe.set("py:count", 0)
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("a change of what was watched went unseen")
    assert client.get("py:count") == b"7"


def messages(client):
    listener = client.pubsub()
    listener.subscribe("py:news")
    listener.psubscribe("__keyevent@0__:expired")
    seen = []
    while len(seen) < 2:
        seen.append(listener.get_message(timeout=60)["type"])
    assert seen == ["subscribe", "psubscribe"], seen
    assert client.publish("py:news", "hello") == 1
    assert listener.get_message(timeout=60)["data"] == b"hello"
    client.set("py:soon", 1, px=50)
    assert listener.get_message(timeout=60)["data"] == b"py:soon"
    listener.close()


def pool(host, port, user, password):
    import threading

    client = redis.Redis(host=host, port=port, username=user, password=password)
    client.set("py:threads", 0)
    threads = [threading.Thread(target=lambda: [client.incr("py:threads") for _ in range(200)]) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert client.get("py:threads") == b"1600"


main(*sys.argv[1:])
