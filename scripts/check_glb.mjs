// Look at an exported avatar with other people's programs: the Khronos validator, and three.js.
//
//     npm install --no-save gltf-validator three && node scripts/check_glb.mjs avatar.glb
//
// The status is 1 when the validator finds more than attributes of the splat extension, which it does not know, or when
// three.js does not see a skinned mesh with its morph targets and as many splats as the file holds.
import fs from "node:fs";
import validator from "gltf-validator";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { GLTFGaussianSplatLoaderExtension } from "three/addons/loaders/GLTFGaussianSplatLoaderExtension.js";

const bytes = new Uint8Array(fs.readFileSync(process.argv[2]));

const isKnown = ({ code, message, pointer }) =>
  (code === "UNSUPPORTED_EXTENSION" && message.includes("KHR_gaussian_splatting")) ||
  (code === "MESH_PRIMITIVE_INVALID_ATTRIBUTE" && pointer.includes("/KHR_gaussian_splatting:"));
const { issues } = await validator.validateBytes(bytes, { maxIssues: 1000 });
const unexpected = issues.messages.filter((issue) => !isKnown(issue));
for (const issue of unexpected) console.log(`validator: ${issue.code} ${issue.pointer}: ${issue.message}`);
console.log(`validator: ${issues.messages.length - unexpected.length} remarks on the extension, ${unexpected.length} others`);

async function load(splats) {
  const loader = new GLTFLoader();
  if (splats) loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
  const { scene } = await loader.parseAsync(bytes.buffer, "");
  const found = {};
  scene.traverse((object) => (found[object.constructor.name] = object));
  return found;
}

const plain = await load(false);
const { SkinnedMesh: mesh, Points: points } = plain;
const { GaussianSplat: splats } = await load(true);
console.log(`three: ${mesh?.geometry.attributes.position.count} vertices, ${mesh?.skeleton.bones.length} bones,`);
console.log(`       ${mesh?.morphTargetInfluences.length} morph targets, ${points?.geometry.attributes.position.count} points,`);
console.log(`       ${splats?.geometry.instanceCount} splats`);
const complete = splats && points && mesh?.morphTargetInfluences.length === mesh?.userData.targetNames.length;
process.exitCode = unexpected.length || !complete ? 1 : 0;
