import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.jar.JarFile;

import org.elasticsearch.Build;
import org.elasticsearch.bootstrap.BootstrapInfo;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** One Elasticsearch node with HTTP on 127.0.0.1. Usage: EsNode HOME HTTP_PORT MODULES */
public class EsNode {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        int port = Integer.parseInt(args[1]);
        Path modules = Path.of(args[2]).toAbsolutePath();
        Files.createDirectories(home.resolve("config"));
        describe(modules);

        Settings settings = Settings.builder()
            .put("path.home", home)
            .put("path.data", home.resolve("data"))
            .put("path.logs", home.resolve("logs"))
            .put("cluster.name", "dpipe-test")
            .put("node.name", "n1")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", port)
            .put("transport.port", 0)
            .put("action.auto_create_index", true)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();

        System.setProperty("es.set.netty.runtime.available.processors", "false");
        System.setProperty("es.logs.base_path", home.resolve("logs").toString());
        System.setProperty("es.logs.cluster_name", "dpipe-test");
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        LogConfigurator.configureWithoutConfig(settings);
        BootstrapInfo.init();

        Environment env = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), home.resolve("config"), () -> "n1");
        PluginsLoader loader = PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(modules), Set.of(), Map.of(), false);
        Node node = new Node(env, loader);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.prepareForClose();
                node.close();
            } catch (IOException e) {
                e.printStackTrace();
            }
        }));
        node.start();
        System.out.println("READY http://127.0.0.1:" + port);
        new CountDownLatch(1).await();
    }

    /**
     * Puts the descriptors beside the modules' jars. The server runs from the class path here, so the descriptor of
     * transport-netty4 must lose its `modulename` line.
     */
    private static void describe(Path modules) throws IOException {
        String file = "plugin-descriptor.properties";
        Path netty = modules.resolve("transport-netty4");
        try (var jars = Files.newDirectoryStream(netty, "transport-netty4-*.jar"); JarFile jar = new JarFile(jars.iterator().next().toFile())) {
            var entry = jar.getEntry("META-INF/es-plugins/transport-netty4/" + file);
            String text = new String(jar.getInputStream(entry).readAllBytes(), StandardCharsets.UTF_8);
            Files.writeString(netty.resolve(file), text.replaceAll("(?m)^modulename=.*$", ""));
        }
        String version = Build.current().version();
        Files.writeString(modules.resolve("root").resolve(file), String.join("\n",
            "name=root", "description=GET /", "classname=RootPlugin", "java.version=17", "version=" + version, "elasticsearch.version=" + version));
    }
}
