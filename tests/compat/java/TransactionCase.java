import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Transactions with Kafka's own client: {@code TransactionCase BOOTSTRAP CASE...}. */
public final class TransactionCase {
    private static final long LIMIT_MS = 40_000;
    private static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            for (String name : List.of(arguments).subList(1, arguments.length)) {
                switch (name) {
                    case "isolation" -> isolation(admin);
                    case "fencing" -> fencing(admin);
                    case "abandoned" -> abandoned(admin);
                    case "timeout" -> timeout(admin);
                    default -> throw new IllegalArgumentException("no case " + name);
                }
                System.out.println(name + " passed");
            }
        }
        System.exit(0);
    }

    /** Committed and aborted transactions beside each other, and one that is open, as both kinds of readers see them. */
    private static void isolation(Admin admin) throws Exception {
        create(admin, "isolation", 2);
        List<String> committed = new ArrayList<>();
        List<String> all = new ArrayList<>();
        try (KafkaProducer<String, String> one = producer("isolation-1", Map.of());
            KafkaProducer<String, String> other = producer("isolation-2", Map.of())) {
            one.initTransactions();
            other.initTransactions();
            for (int round = 0; round < 20; round++) {
                one.beginTransaction();
                other.beginTransaction();
                for (int number = 0; number < 10; number++) {
                    String value = round + ":" + number;
                    one.send(new ProducerRecord<>("isolation", number % 2, null, "one " + value));
                    other.send(new ProducerRecord<>("isolation", number % 2, null, "other " + value));
                    (round % 2 == 0 ? committed : new ArrayList<String>()).add("one " + value);
                    (round % 3 == 0 ? committed : new ArrayList<String>()).add("other " + value);
                    all.add("one " + value);
                    all.add("other " + value);
                }
                end(one, round % 2 == 0);
                end(other, round % 3 == 0);
            }
            one.beginTransaction();
            one.send(new ProducerRecord<>("isolation", 0, null, "open")).get();
            all.add("open");
            TopicPartition partition = new TopicPartition("isolation", 0);
            long stable = end(admin, partition, IsolationLevel.READ_COMMITTED);
            expect(end(admin, partition, IsolationLevel.READ_UNCOMMITTED) - stable, 1L, "records after the stable offset");
            expect(sorted(read("isolation", 2, "read_committed", committed.size())), sorted(committed), "committed");
            expect(sorted(read("isolation", 2, "read_uncommitted", all.size())), sorted(all), "everything");
            one.commitTransaction();
            committed.add("open");
            expect(sorted(read("isolation", 2, "read_committed", committed.size())), sorted(committed), "at the end");
        }
    }

    /** A second producer of the same name ends what the first had open, and the first can do nothing more. */
    private static void fencing(Admin admin) throws Exception {
        create(admin, "fencing", 1);
        KafkaProducer<String, String> zombie = producer("fencing", Map.of());
        zombie.initTransactions();
        zombie.beginTransaction();
        zombie.send(new ProducerRecord<>("fencing", "of the zombie")).get();
        try (KafkaProducer<String, String> successor = producer("fencing", Map.of())) {
            successor.initTransactions();
            fenced(() -> {
                zombie.send(new ProducerRecord<>("fencing", "too late")).get();
                zombie.commitTransaction();
            });
            zombie.close(Duration.ZERO);
            successor.beginTransaction();
            successor.send(new ProducerRecord<>("fencing", "of the successor"));
            successor.commitTransaction();
            expect(read("fencing", 1, "read_committed", 1), List.of("of the successor"), "committed");
            admin.fenceProducers(List.of("fencing")).all().get();
            fenced(() -> {
                successor.beginTransaction();
                successor.send(new ProducerRecord<>("fencing", "fenced by hand")).get();
                successor.commitTransaction();
            });
        }
        expect(read("fencing", 1, "read_committed", 1), List.of("of the successor"), "committed");
    }

    /** What administrators see of a transaction that nobody ends, and how they end it. */
    private static void abandoned(Admin admin) throws Exception {
        create(admin, "abandoned", 1);
        TopicPartition partition = new TopicPartition("abandoned", 0);
        KafkaProducer<String, String> producer = producer("abandoned", Map.of());
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>("abandoned", "nobody ends it")).get();
        boolean listed = admin.listTransactions().all().get().stream()
            .anyMatch(each -> each.transactionalId().equals("abandoned") && each.state() == TransactionState.ONGOING);
        expect(listed, true, "an ongoing transaction in the list");
        TransactionDescription description =
            admin.describeTransactions(List.of("abandoned")).description("abandoned").get();
        expect(description.state(), TransactionState.ONGOING, "state");
        expect(description.topicPartitions(), java.util.Set.of(partition), "partitions");
        ProducerState state = admin.describeProducers(List.of(partition)).partitionResult(partition).get()
            .activeProducers().get(0);
        expect(state.producerId(), description.producerId(), "producer id");
        expect(state.currentTransactionStartOffset().getAsLong(), 0L, "start of the transaction");
        expect(end(admin, partition, IsolationLevel.READ_COMMITTED), 0L, "last stable offset");
        admin.abortTransaction(new AbortTransactionSpec(
            partition, state.producerId(), (short) state.producerEpoch(), state.coordinatorEpoch().orElse(0))).all().get();
        await("the stable offset moves", () -> end(admin, partition, IsolationLevel.READ_COMMITTED) == 2);
        producer.close(Duration.ZERO);
    }

    /** A transaction that takes longer than it said is aborted by the broker. */
    private static void timeout(Admin admin) throws Exception {
        create(admin, "timeout", 1);
        TopicPartition partition = new TopicPartition("timeout", 0);
        KafkaProducer<String, String> slow = producer("timeout", Map.of("transaction.timeout.ms", "1000"));
        slow.initTransactions();
        slow.beginTransaction();
        slow.send(new ProducerRecord<>("timeout", "never committed")).get();
        await("the broker aborts", () -> end(admin, partition, IsolationLevel.READ_COMMITTED) == 2);
        refused(slow::commitTransaction);
        slow.close(Duration.ZERO);
        try (KafkaProducer<String, String> next = producer("timeout", Map.of())) {
            next.initTransactions();
            next.beginTransaction();
            next.send(new ProducerRecord<>("timeout", "in time"));
            next.commitTransaction();
        }
        expect(read("timeout", 1, "read_committed", 1), List.of("in time"), "committed");
    }

    private static KafkaProducer<String, String> producer(String transactionalId, Map<String, String> settings) {
        Map<String, Object> all = new HashMap<>(settings);
        all.put("bootstrap.servers", bootstrap);
        if (transactionalId != null) {
            all.put("transactional.id", transactionalId);
        }
        return new KafkaProducer<>(all, new StringSerializer(), new StringSerializer());
    }

    private static void end(KafkaProducer<String, String> producer, boolean commit) {
        if (commit) {
            producer.commitTransaction();
        } else {
            producer.flush();
            producer.abortTransaction();
        }
    }

    private static void create(Admin admin, String topic, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
    }

    private static long end(Admin admin, TopicPartition partition, IsolationLevel isolation) throws Exception {
        return admin.listOffsets(Map.of(partition, OffsetSpec.latest()), new ListOffsetsOptions(isolation))
            .partitionResult(partition).get().offset();
    }

    /** All that a reader sees from the beginning up to the end that is its own. */
    private static List<String> read(String topic, int partitions, String isolation, int count) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation,
            "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        List<TopicPartition> assigned = new ArrayList<>();
        for (int partition = 0; partition < partitions; partition++) {
            assigned.add(new TopicPartition(topic, partition));
        }
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(assigned);
            consumer.seekToBeginning(assigned);
            Map<TopicPartition, Long> ends = consumer.endOffsets(assigned);
            long deadline = System.currentTimeMillis() + LIMIT_MS;
            while (assigned.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                if (System.currentTimeMillis() > deadline) {
                    throw new AssertionError("only " + values.size() + " of " + count + " were read from " + topic);
                }
                consumer.poll(Duration.ofMillis(200)).forEach(record -> values.add(record.value()));
            }
        }
        return values;
    }

    private interface Attempt {
        void run() throws Exception;
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void fenced(Attempt attempt) throws Exception {
        KafkaException refusal = refused(attempt);
        // Version 2 of transactions tells it as an epoch that is not valid when it meets the records first.
        boolean isFenced = refusal instanceof ProducerFencedException
            || refusal.getCause() instanceof ProducerFencedException
            || refusal.toString().contains("InvalidProducerEpoch")
            || String.valueOf(refusal.getCause()).contains("InvalidProducerEpoch");
        expect(isFenced, true, "fenced rather than " + refusal);
    }

    private static KafkaException refused(Attempt attempt) throws Exception {
        try {
            attempt.run();
        } catch (KafkaException error) {
            return error;
        } catch (ExecutionException error) {
            if (error.getCause() instanceof KafkaException cause) {
                return cause;
            }
            throw error;
        }
        throw new AssertionError("accepted, though it must be refused");
    }

    private static void await(String what, Condition condition) throws Exception {
        long deadline = System.currentTimeMillis() + LIMIT_MS;
        while (!condition.holds()) {
            if (System.currentTimeMillis() > deadline) {
                throw new AssertionError("not in time: " + what);
            }
            Thread.onSpinWait();
        }
    }

    private static List<String> sorted(List<String> values) {
        return values.stream().sorted().toList();
    }

    private static void expect(Object found, Object expected, String what) {
        if (!expected.equals(found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }
}
