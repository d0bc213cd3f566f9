# Sourced by the build scripts: puts the plugin's world and the contract it builds on where the tools look for
# them, and tells the place as $wit.
wit=$languages/wit
mkdir -p "$wit/deps/millrace-plugin"
cp "$here/../wit/order-routing.wit" "$wit"
cp "$here/../../../sdk/wit/plugin.wit" "$wit/deps/millrace-plugin"
