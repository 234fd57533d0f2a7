#!/bin/bash
exec /opt/kafka/bin/java-class org.apache.kafka.tools.consumer.ConsoleConsumer "$@"
