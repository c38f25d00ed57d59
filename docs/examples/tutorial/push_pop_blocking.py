from nasq import BlockingNASQueue

with BlockingNASQueue("localhost", 4222, namespace="shop") as queue:
    queue.push("orders.new", "a pot of tea")
    queue.push("orders.new", {"item": "cup", "count": 2})
    print("in the queue:", queue.queue_size())

    message = queue.pop()
    assert message is not None
    print(message.subject, message.text)

    message = queue.pop()
    assert message is not None
    print(message.subject, message.json()["count"])

    print(queue.pop(timeout=0.5))
