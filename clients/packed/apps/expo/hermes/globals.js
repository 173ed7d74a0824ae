// The globals that the kit and its tests use and that the app's setup adds to Hermes, from the same modules: they come
// with React Native and, for URL, with Expo.
import { AbortController } from "abort-controller/dist/abort-controller";
// biome-ignore lint/suspicious/noReactNativeDeepImports: the app's setup imports this file too
import queueMicrotask from "react-native/Libraries/Core/Timers/queueMicrotask";
import { Headers } from "whatwg-fetch";
import { URL } from "whatwg-url-without-unicode";

Object.assign(globalThis, { AbortController, Headers, URL, queueMicrotask });

// The engine on npm is of 2022 and lacks this method. The engine of React Native has it.
Array.prototype.at ??= function at(index) {
  return this[index < 0 ? this.length + index : index];
};
