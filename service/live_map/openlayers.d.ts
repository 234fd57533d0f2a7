export * from "../../deploy/live_map/openlayers.js";
