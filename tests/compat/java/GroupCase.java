import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Consumer groups with Kafka's own client: {@code GroupCase BOOTSTRAP CASE...}.
 *
 * <p>Members of one group are driven in turns by one thread, so that what each was told is known at each step.
 */
public final class GroupCase {
    private static final int PARTITIONS = 6;
    private static final int RECORDS = 600;
    private static final long LIMIT_MS = 40_000;
    private static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        for (String name : List.of(arguments).subList(1, arguments.length)) {
            switch (name) {
                case "eager" -> rebalances(name, classic("org.apache.kafka.clients.consumer.RangeAssignor"));
                case "cooperative" ->
                    rebalances(name, classic("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
                case "consumer" -> rebalances(name, Map.of("group.protocol", "consumer"));
                case "static" -> staticMembers();
                case "pattern" -> pattern();
                default -> throw new IllegalArgumentException("no case " + name);
            }
            System.out.println(name + " passed");
        }
        System.exit(0);
    }

    private static Map<String, String> classic(String assignor) {
        return Map.of("group.protocol", "classic", "partition.assignment.strategy", assignor,
            "heartbeat.interval.ms", "300");
    }

    /** One member, then two, then one: who has what, what each is told, and every record read once. */
    private static void rebalances(String topic, Map<String, String> settings) throws Exception {
        create(topic, PARTITIONS);
        fill(topic, RECORDS);
        Map<String, Integer> seen = new TreeMap<>();
        try (Admin admin = admin()) {
            Member first = new Member(topic, settings, seen);
            turns(() -> first.assigned.size() == PARTITIONS && seen.size() == RECORDS, first);
            Member second = new Member(topic, settings, seen);
            first.revoked.clear();
            turns(() -> first.assigned.size() == 3 && second.assigned.size() == 3, first, second);
            Set<TopicPartition> both = new HashSet<>(first.assigned);
            both.addAll(second.assigned);
            expect(both.size(), PARTITIONS, "partitions that either has");
            // The eager protocol takes everything away first, the others only what moves.
            expect(first.revoked.size(), topic.equals("eager") ? 6 : 3, "revoked partitions");
            ConsumerGroupDescription described =
                admin.describeConsumerGroups(List.of(topic)).all().get().get(topic);
            expect(described.groupState().toString(), "Stable", "state");
            expect(described.members().size(), 2, "members");
            for (MemberDescription member : described.members()) {
                expect(member.assignment().topicPartitions().size(), 3, "described partitions");
            }
            fill(topic, RECORDS);
            turns(() -> total(seen) == 2 * RECORDS, first, second);
            second.close();
            turns(() -> first.assigned.size() == PARTITIONS, first);
            fill(topic, RECORDS);
            turns(() -> total(seen) == 3 * RECORDS, first);
            first.close();
            expect(committed(admin, topic), 3L * RECORDS, "sum of committed offsets");
            expect(new HashSet<>(seen.values()), Set.of(3), "times that each record was read");
            admin.deleteConsumerGroups(List.of(topic)).all().get();
        }
    }

    /** A static member that comes back within its session's time gets what it had, and nobody is told. */
    private static void staticMembers() throws Exception {
        create("static", PARTITIONS);
        Map<String, Integer> seen = new HashMap<>();
        Map<String, String> settings = new HashMap<>(classic("org.apache.kafka.clients.consumer.RangeAssignor"));
        settings.put("group.instance.id", "first");
        Member first = new Member("static", settings, seen);
        turns(() -> first.assigned.size() == PARTITIONS, first);
        settings.put("group.instance.id", "second");
        Member second = new Member("static", settings, seen);
        turns(() -> first.assigned.size() == 3 && second.assigned.size() == 3, first, second);
        Set<TopicPartition> before = new HashSet<>(second.assigned);
        first.revoked.clear();
        second.close();
        Member again = new Member("static", settings, seen);
        turns(() -> again.assigned.size() == 3, first, again);
        expect(again.assigned, before, "what the static member has again");
        fill("static", 60);
        turns(() -> total(seen) == 60, first, again);
        expect(first.revoked.size(), 0, "what the other was told to give up");
        first.close();
        again.close();
    }

    /** A regular expression that the broker evaluates: a topic that appears later is found. */
    private static void pattern() throws Exception {
        create("pattern-a", 2);
        create("unrelated", 2);
        Map<String, Integer> seen = new HashMap<>();
        Properties properties = properties("pattern", Map.of("group.protocol", "consumer"));
        properties.put("metadata.max.age.ms", "500");
        KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
        Member member = new Member(consumer, seen);
        consumer.subscribe(new SubscriptionPattern("pattern-.*"), member);
        turns(() -> member.assigned.size() == 2, member);
        create("pattern-b", 3);
        turns(() -> member.assigned.size() == 5, member);
        member.close();
    }

    /** A consumer that remembers what it was told, and commits what it has read before it gives anything up. */
    private static final class Member implements ConsumerRebalanceListener, AutoCloseable {
        final Set<TopicPartition> assigned = new HashSet<>();
        final Set<TopicPartition> revoked = new HashSet<>();
        private final Consumer<String, String> consumer;
        private final Map<String, Integer> seen;

        Member(Consumer<String, String> consumer, Map<String, Integer> seen) {
            this.consumer = consumer;
            this.seen = seen;
        }

        Member(String topic, Map<String, String> settings, Map<String, Integer> seen) {
            this(new KafkaConsumer<>(properties(topic, settings), new StringDeserializer(), new StringDeserializer()), seen);
            consumer.subscribe(List.of(topic), this);
        }

        void turn() {
            boolean any = false;
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(50))) {
                seen.merge(record.value(), 1, Integer::sum);
                any = true;
            }
            if (any) {
                consumer.commitSync();
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            assigned.addAll(partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            assigned.removeAll(partitions);
            revoked.addAll(partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            throw new AssertionError("lost " + partitions);
        }

        @Override
        public void close() {
            consumer.close();
        }
    }

    private static void turns(BooleanSupplier done, Member... members) {
        long deadline = System.currentTimeMillis() + LIMIT_MS;
        while (!done.getAsBoolean()) {
            if (System.currentTimeMillis() > deadline) {
                StringBuilder told = new StringBuilder("not settled in time:");
                for (Member member : members) {
                    told.append(" has ").append(member.assigned).append(", read ").append(total(member.seen));
                }
                throw new AssertionError(told);
            }
            for (Member member : members) {
                member.turn();
            }
        }
    }

    private static Properties properties(String group, Map<String, String> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", group);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.putAll(settings);
        return properties;
    }

    private static Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    private static void create(String topic, int partitions) throws Exception {
        try (Admin admin = admin()) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    private static void fill(String topic, int count) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "linger.ms", "5");
        try (KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int number = 0; number < count; number++) {
                producer.send(new ProducerRecord<>(topic, number % PARTITIONS, null, "record " + number));
            }
        }
    }

    private static long committed(Admin admin, String group) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets =
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        return offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
    }

    private static int total(Map<String, Integer> seen) {
        return seen.values().stream().mapToInt(Integer::intValue).sum();
    }

    private static void expect(Object found, Object expected, String what) {
        if (!expected.equals(found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }
}
