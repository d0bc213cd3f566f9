import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Semaphore;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Producers whose acknowledgements are checked, with Kafka's own client: {@code Producers BOOTSTRAP}.
 *
 * <p>Obeys the protocol of lines in tests/compat/src/stored/client.rs.
 */
public final class Producers {
    private static final int OUTSTANDING_MAX = 100;
    private static String bootstrap;
    private static volatile boolean ended;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        List<Worker> workers = new ArrayList<>();
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "producer" -> workers.add(new Worker(words[1], words[2], words[3], words[4]));
                case "go" -> {
                    ended = false;
                    List<Worker> round = workers;
                    workers = new ArrayList<>();
                    new Thread(() -> run(round, Integer.parseInt(words[1]))).start();
                }
                case "end" -> ended = true;
                default -> throw new IllegalArgumentException("no command: " + line);
            }
        }
        System.exit(0);
    }

    private static void run(List<Worker> workers, int count) {
        List<Thread> threads = workers.stream().map(worker -> new Thread(() -> worker.send(count))).toList();
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException error) {
                    throw new IllegalStateException("nobody interrupts", error);
                }
            }
        }
        say("done");
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Worker {
        private final String name;
        private final String topic;
        private final Integer partition;
        private final KafkaProducer<byte[], byte[]> producer;

        Worker(String name, String mode, String topic, String partition) {
            this.name = name;
            this.topic = topic;
            this.partition = partition.equals("key") ? null : Integer.valueOf(partition);
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("acks", mode.equals("leader") ? "1" : "all");
            settings.put("enable.idempotence", String.valueOf(mode.equals("idempotent")));
            settings.put("linger.ms", "0");
            settings.put("batch.size", "1");
            settings.put("metadata.max.age.ms", "500");
            settings.put("retry.backoff.ms", "10");
            settings.put("max.block.ms", "120000");
            settings.put("delivery.timeout.ms", "120000");
            settings.put("request.timeout.ms", "30000");
            producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        }

        void send(int count) {
            Semaphore room = new Semaphore(OUTSTANDING_MAX);
            for (int number = 0; count == 0 ? !ended : number < count; number++) {
                room.acquireUninterruptibly();
                String label = name + ":" + number;
                byte[] value = (label + ":" + ".".repeat(600)).substring(0, 600).getBytes(StandardCharsets.UTF_8);
                byte[] key = (name + ":" + number % 64).getBytes(StandardCharsets.UTF_8);
                try {
                    producer.send(new ProducerRecord<>(topic, partition, key, value), (metadata, error) -> {
                        tell(label, metadata, error);
                        room.release();
                    });
                } catch (RuntimeException error) {
                    say("failed " + label + " " + error);
                    room.release();
                }
            }
            producer.close();
        }

        private static void tell(String label, RecordMetadata stored, Exception error) {
            if (error != null) {
                say("failed " + label + " " + error.toString().replace('\n', ' '));
                return;
            }
            // Without an offset the broker has told nothing else either.
            long time = stored.hasOffset() ? stored.timestamp() : -1;
            long offset = stored.hasOffset() ? stored.offset() : -1;
            say("stored " + stored.topic() + " " + stored.partition() + " " + offset + " " + time + " " + label);
        }
    }
}
