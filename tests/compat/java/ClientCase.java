import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** One case of the compatibility tests with Kafka's own client: {@code ClientCase BOOTSTRAP CASE}. */
public final class ClientCase {
    private static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    private static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        switch (arguments[1]) {
            case "round_trip" -> roundTrip();
            case "seek_and_timestamps" -> seekAndTimestamps();
            case "administration" -> administration();
            default -> throw new IllegalArgumentException("no case " + arguments[1]);
        }
    }

    private static void roundTrip() throws Exception {
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic("java-round-trip", 2, (short) 1))).all().get();
        }
        TopicPartition partition = new TopicPartition("java-round-trip", 1);
        int sent = 0;
        for (String codec : CODECS) {
            for (String acks : List.of("0", "1", "all", "idempotent")) {
                boolean idempotent = acks.equals("idempotent");
                Map<String, String> settings = Map.of(
                    "compression.type", codec, "linger.ms", "5",
                    "acks", idempotent ? "all" : acks, "enable.idempotence", String.valueOf(idempotent));
                send(partition, 40, settings);
                sent += 40;
            }
        }
        List<ConsumerRecord<byte[], byte[]>> records;
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(partition)) {
            consumer.seekToBeginning(List.of(partition));
            records = read(consumer, sent);
        }
        for (int index = 0; index < sent; index++) {
            ConsumerRecord<byte[], byte[]> record = records.get(index);
            int number = index % 40;
            expect(record.offset(), (long) index, "offset");
            expect(text(record.key()), number == 3 ? null : "key " + number, "key of " + index);
            expect(text(record.value()), number == 4 ? null : value(number), "value of " + index);
            expect(text(record.headers().lastHeader("number").value()), "" + number, "header of " + index);
            expect(record.timestamp(), timestamp(number), "timestamp of " + index);
        }
    }

    private static void seekAndTimestamps() throws Exception {
        TopicPartition partition = new TopicPartition("java-seek", 0);
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic("java-seek", 1, (short) 1))).all().get();
            send(partition, 100, Map.of("compression.type", "zstd"));
            for (Map.Entry<OffsetSpec, Long> lookup : Map.of(
                OffsetSpec.earliest(), 0L, OffsetSpec.latest(), 100L, OffsetSpec.maxTimestamp(), 99L,
                OffsetSpec.forTimestamp(timestamp(7) - 1), 7L).entrySet()) {
                long found = admin.listOffsets(Map.of(partition, lookup.getKey())).partitionResult(partition).get().offset();
                expect(found, lookup.getValue(), "listOffsets " + lookup.getKey().getClass().getSimpleName());
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(partition)) {
            consumer.seek(partition, 42);
            expect(read(consumer, 1).get(0).offset(), 42L, "after seek(42)");
            consumer.seek(partition, 7);
            expect(read(consumer, 1).get(0).offset(), 7L, "after seek(7)");
            expect(consumer.offsetsForTimes(Map.of(partition, timestamp(50))).get(partition).offset(), 50L, "offset for a time");
            expect(consumer.offsetsForTimes(Map.of(partition, timestamp(99) + 1)).get(partition), null, "offset after all");
            expect(consumer.beginningOffsets(List.of(partition)).get(partition), 0L, "beginning");
            expect(consumer.endOffsets(List.of(partition)).get(partition), 100L, "end");
            expect(consumer.partitionsFor("java-seek").size(), 1, "partitions");
        }
    }

    private static void administration() throws Exception {
        TopicPartition partition = new TopicPartition("java-admin", 0);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, "java-admin");
        try (Admin admin = admin()) {
            NewTopic topic = new NewTopic("java-admin", 1, (short) 1).configs(Map.of("retention.ms", "123456"));
            admin.createTopics(List.of(topic)).all().get();
            refused(TopicExistsException.class, admin.createTopics(List.of(topic)).all());
            TopicDescription described = admin.describeTopics(List.of("java-admin")).allTopicNames().get().get("java-admin");
            expect(described.partitions().size(), 1, "partitions");
            expect(described.partitions().get(0).isr().size(), 1, "in-sync replicas");
            expect(setting(admin, resource, "retention.ms"), "123456", "retention.ms");
            alter(admin, resource, AlterConfigOp.OpType.SET, "max.message.bytes", "2000").get();
            expect(setting(admin, resource, "max.message.bytes"), "2000", "max.message.bytes");
            alter(admin, resource, AlterConfigOp.OpType.APPEND, "cleanup.policy", "compact").get();
            expect(setting(admin, resource, "cleanup.policy"), "delete,compact", "cleanup.policy");
            alter(admin, resource, AlterConfigOp.OpType.SUBTRACT, "cleanup.policy", "compact").get();
            alter(admin, resource, AlterConfigOp.OpType.DELETE, "retention.ms", "").get();
            expect(setting(admin, resource, "retention.ms"), "604800000", "retention.ms, back to its default");
            refused(InvalidConfigurationException.class, alter(admin, resource, AlterConfigOp.OpType.SET, "retention.ms", "soon"));
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("max.request.size", "1000000"))) {
                refused(RecordTooLargeException.class, producer.send(new ProducerRecord<>("java-admin", new byte[5000])));
            }
            // The client splits batches that are too large, but never below its own batch.size.
            alter(admin, resource, AlterConfigOp.OpType.DELETE, "max.message.bytes", "").get();
            send(partition, 40, Map.of());
            expect(admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(25)))
                .lowWatermarks().get(partition).get().lowWatermark(), 25L, "low watermark");
            expect(admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get().offset(), 25L, "earliest");
            admin.createPartitions(Map.of("java-admin", NewPartitions.increaseTo(3))).all().get();
            send(new TopicPartition("java-admin", 2), 40, Map.of());
            expect(admin.describeCluster().nodes().get().size(), 1, "nodes");
            Collection<Integer> brokers = List.of(admin.describeCluster().controller().get().id());
            expect(admin.describeLogDirs(brokers).allDescriptions().get().size(), 1, "log directories of brokers");
            admin.deleteTopics(List.of("java-admin")).all().get();
        }
    }

    private static Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private static KafkaProducer<byte[], byte[]> producer(Map<String, String> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.putAll(settings);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static KafkaConsumer<byte[], byte[]> consumer(TopicPartition partition) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        KafkaConsumer<byte[], byte[]> consumer =
            new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        consumer.assign(List.of(partition));
        return consumer;
    }

    private static void send(TopicPartition to, int count, Map<String, String> settings) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            List<Future<RecordMetadata>> deliveries = new ArrayList<>();
            for (int number = 0; number < count; number++) {
                byte[] key = number == 3 ? null : bytes("key " + number);
                byte[] value = number == 4 ? null : bytes(value(number));
                ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(to.topic(), to.partition(), timestamp(number), key, value);
                record.headers().add("number", bytes("" + number));
                deliveries.add(producer.send(record));
            }
            producer.flush();
            for (Future<RecordMetadata> delivery : deliveries) {
                delivery.get();
            }
        }
    }

    private static List<ConsumerRecord<byte[], byte[]>> read(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.currentTimeMillis() + 20_000;
        while (records.size() < count) {
            if (System.currentTimeMillis() > deadline) {
                throw new AssertionError("only " + records.size() + " of " + count + " records came");
            }
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    private static String setting(Admin admin, ConfigResource resource, String name) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource).get(name).value();
    }

    private static Future<Void> alter(Admin admin, ConfigResource resource, AlterConfigOp.OpType operation, String name, String value) {
        AlterConfigOp change = new AlterConfigOp(new ConfigEntry(name, value), operation);
        return admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all();
    }

    private static void refused(Class<? extends Exception> expected, Future<?> request) throws Exception {
        try {
            request.get();
        } catch (ExecutionException error) {
            if (expected.isInstance(error.getCause())) {
                return;
            }
            throw error;
        }
        throw new AssertionError("accepted, though it must fail with " + expected.getSimpleName());
    }

    private static void expect(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }

    private static String value(int number) {
        return ("value " + number + " ").repeat(20);
    }

    private static long timestamp(int number) {
        return 1_000_000L + 1_000L * number;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
