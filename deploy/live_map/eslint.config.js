import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/node_modules/", "**/openlayers.js"] },
  js.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.node } },
    rules: { "no-unused-vars": "error", eqeqeq: "error", "one-var": ["error", "never"], "prefer-const": "error" },
  },
];
