const [hostname, port] = Deno.args.slice(-2);
try {
  const plain = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  await (await Deno.startTls(plain, { hostname })).handshake();
  console.log("\tok");
} catch (error) {
  console.log(`\t${error.message}`);
}
Deno.exit();
