"""The alerts that the topic of an environment has sent."""

import json
from typing import Dict, List

from tests.e2e.engine import Engine

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"


class Alerts:
    """A queue that is subscribed to a topic; ``received`` holds the fields of each alert so far."""

    def __init__(self, engine: Engine, topic: str = TOPIC) -> None:
        self.sqs = engine.client("sqs")
        self.queue = self.sqs.create_queue(QueueName=topic.rpartition(":")[2])["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        engine.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self.received: List[Dict[str, str]] = []

    def of(self, **fields: str) -> List[Dict[str, str]]:
        """Return the alerts so far that have these fields."""
        while True:
            messages = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                body = json.loads(message["Body"])
                lines = [line.split(": ", 1) for line in body["Message"].splitlines() if ": " in line]
                self.received.append({"Subject": body["Subject"], "Message": body["Message"], **dict(lines)})
            if not messages:
                return [alert for alert in self.received if fields.items() <= alert.items()]
