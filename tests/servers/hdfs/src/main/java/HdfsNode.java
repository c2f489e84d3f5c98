import java.io.File;
import java.util.concurrent.CountDownLatch;

import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** One NameNode with WebHDFS on 127.0.0.1 and its DataNode. Usage: HdfsNode DIR HTTP_PORT RPC_PORT */
public class HdfsNode {
    public static void main(String[] args) throws Exception {
        File dir = new File(args[0]).getAbsoluteFile();
        boolean fresh = !dir.exists();
        Configuration conf = new Configuration();
        conf.set("hdfs.minidfs.basedir", dir.getPath());
        conf.set("dfs.namenode.fs-limits.min-block-size", "1024");
        conf.set("dfs.datanode.hostname", "127.0.0.1");
        MiniDFSCluster cluster = new MiniDFSCluster.Builder(conf)
            .numDataNodes(1)
            .format(fresh)
            .nameNodeHttpPort(Integer.parseInt(args[1]))
            .nameNodePort(Integer.parseInt(args[2]))
            .build();
        cluster.waitActive();
        cluster.getFileSystem().setPermission(new Path("/"), new FsPermission((short) 0777));
        System.out.println("READY http://127.0.0.1:" + args[1] + "/webhdfs/v1");
        Runtime.getRuntime().addShutdownHook(new Thread(cluster::shutdown));
        new CountDownLatch(1).await();
    }
}
