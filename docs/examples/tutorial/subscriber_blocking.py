from nasq import BlockingNASQueue

with BlockingNASQueue("localhost", 4222, namespace="shop") as queue:
    queue.subscribe_and_queue("orders.*")
    print("ready")
    for message in queue:
        print("got", message.subject, message.json())
